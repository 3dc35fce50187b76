"""Uploads that go from the client straight to the store."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", UUID(), primary_key=True),
        sa.Column("owner_id", UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text()),
        sa.Column("store_id", sa.Text()),
        sa.Column("part_size", sa.BigInteger()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("document_id", UUID()),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "active",
            sa.Boolean(),
            sa.Computed("state IN ('open', 'verifying')", persisted=True),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('open', 'verifying', 'completed', 'failed')", name="ck_uploads_state"
        ),
        sa.CheckConstraint(
            "(state = 'completed') = (document_id IS NOT NULL)",
            name="ck_uploads_completed_with_document",
        ),
        sa.CheckConstraint(
            "(store_id IS NULL) = (part_size IS NULL)", name="ck_uploads_parts_together"
        ),
        sa.CheckConstraint("part_size > 0", name="ck_uploads_part_size"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])


def downgrade() -> None:
    op.drop_table("uploads")
