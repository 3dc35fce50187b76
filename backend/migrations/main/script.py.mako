"""${message}."""

# Code of the release before still runs: add first, enforce and drop in a later release. A table
# with rows of tenants gets row level security, like those of 0001. Then delete these lines.

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = "${up_revision}"
down_revision = "${down_revision}"


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
