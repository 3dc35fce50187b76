"""${message}."""

# What is safe on tables in use, while the code of the release before still runs:
# - add a column that may be NULL, or has a constant default; fill it in parts, from a job;
# - NOT NULL in three revisions: CHECK (x IS NOT NULL) NOT VALID; VALIDATE CONSTRAINT; SET NOT NULL;
# - a foreign key in two: NOT VALID; VALIDATE CONSTRAINT;
# - an index in a revision of its own with `autocommit = True`:
#   op.create_index(…, postgresql_concurrently=True, if_not_exists=True);
# - drop a column in a release after the one whose code stopped using it, with
#   `breaks_older_code = True`.
# Also of this module: `code_can_wait = True` where the code that ships with it also serves a
# database without it; `per_tenant = True` where it runs Python at each tenant; `unsafe_reason =
# "…"` where the lint is wrong. Then delete these lines.

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = "${up_revision}"
down_revision = "${down_revision}"


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
