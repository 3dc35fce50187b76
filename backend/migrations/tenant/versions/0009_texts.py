"""The text of files, to be searched, and what became of taking it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR, UUID

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "files",
        sa.Column("processing", sa.Text(), nullable=False, server_default=sa.text("'pending'")),
    )
    op.add_column("files", sa.Column("processing_reason", sa.Text()))
    op.add_column("files", sa.Column("detected_type", sa.Text()))
    op.create_table(
        "file_texts",
        sa.Column(
            "file_id",
            UUID(),
            sa.ForeignKey("files.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("words", TSVECTOR(), nullable=False),
    )
    op.create_index("ix_file_texts_words", "file_texts", ["words"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_table("file_texts")
    for name in ("processing", "processing_reason", "detected_type"):
        op.drop_column("files", name)
