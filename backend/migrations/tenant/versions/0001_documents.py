"""Documents and the stored files behind them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text()),
        sa.Column("md5", sa.Text()),
        sa.Column("size", sa.BigInteger()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("key", name="uq_files_key"),
        sa.CheckConstraint("state IN ('pending', 'available', 'deleting')", name="ck_files_state"),
        sa.CheckConstraint(
            "state = 'pending' OR (digest IS NOT NULL AND size IS NOT NULL)",
            name="ck_files_verified_unless_pending",
        ),
    )
    # One stored object for the same bytes.
    op.create_index(
        "uq_files_digest",
        "files",
        ["digest"],
        unique=True,
        postgresql_where=sa.text("state = 'available'"),
    )
    op.create_table(
        "documents",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("file_id", UUID(), sa.ForeignKey("files.id"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_documents_file_id", "documents", ["file_id"])


def downgrade() -> None:
    op.drop_table("documents")
    op.drop_table("files")
