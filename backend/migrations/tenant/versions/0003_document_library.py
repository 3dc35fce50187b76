"""Tags, trash, versions, the order of lists, and the quota.

The code of 0001 cannot write to this schema, nor this code read 0001's: no release ran on it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, UUID

revision = "0003"
down_revision = "0002"
unsafe_reason = "it is older than the first release: no tenant's table has rows yet"

# All parts of up to three characters: with them any piece of a name is found through an index,
# shorter ones as the beginnings of others. pg_trgm finds nothing shorter than three characters, no
# Japanese where the database's locale is C, and is not on every server.
_NAME_PARTS = """
CREATE FUNCTION name_parts(_name text) RETURNS tsvector
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT array_to_tsvector(array_agg(DISTINCT substr(_name, place, 3)))
    FROM generate_series(1, length(_name)) AS place
$$
"""

# Whoever changes files or documents changes the sums in the same transaction, and holds the row
# until its end; the role that does it may only read them.
_COUNT_FILES = """
CREATE FUNCTION quota_count_files() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    bytes bigint := 0;
    places bigint := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        SELECT -COALESCE(sum(charged_bytes), 0), -count(*) FILTER (WHERE holds_place)
        INTO bytes, places FROM old_rows;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        SELECT bytes + COALESCE(sum(charged_bytes), 0),
               places + count(*) FILTER (WHERE holds_place)
        INTO bytes, places FROM new_rows;
    END IF;
    IF bytes <> 0 OR places <> 0 THEN
        UPDATE quota SET used_bytes = used_bytes + bytes, used_documents = used_documents + places;
    END IF;
    RETURN NULL;
END
$$
"""
_COUNT_DOCUMENTS = """
CREATE FUNCTION quota_count_documents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    more bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO more FROM new_rows;
    ELSE
        SELECT -count(*) INTO more FROM old_rows;
    END IF;
    IF more <> 0 THEN
        UPDATE quota SET used_documents = used_documents + more;
    END IF;
    RETURN NULL;
END
$$
"""
_ROWS = {
    "INSERT": "NEW TABLE AS new_rows",
    "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "OLD TABLE AS old_rows",
}


def upgrade() -> None:
    _widen_documents()
    _create_versions()
    _index_lists()
    _create_quota()


def _widen_documents() -> None:
    op.add_column("documents", sa.Column("folded_name", sa.Text(collation="C")))
    op.add_column("documents", sa.Column("size", sa.BigInteger()))
    op.add_column("documents", sa.Column("tags", ARRAY(sa.Text()), server_default="{}"))
    op.add_column("documents", sa.Column("version", sa.Integer(), server_default="1"))
    op.add_column("documents", sa.Column("revision", sa.Integer(), server_default="1"))
    op.add_column("documents", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.add_column("documents", sa.Column("deleted_by", UUID()))
    op.execute(
        "UPDATE documents SET folded_name = lower(name), size = files.size"
        " FROM files WHERE files.id = documents.file_id"
    )
    for name in ("folded_name", "size", "tags", "version", "revision"):
        op.alter_column("documents", name, nullable=False)
    op.create_check_constraint(
        "ck_documents_deleted_by_somebody",
        "documents",
        "(deleted_at IS NULL) = (deleted_by IS NULL)",
    )


def _create_versions() -> None:
    op.create_table(
        "document_versions",
        sa.Column(
            "document_id",
            UUID(),
            sa.ForeignKey("documents.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("file_id", UUID(), sa.ForeignKey("files.id"), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("created_by", UUID(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_document_versions_file_id", "document_versions", ["file_id"])
    op.execute(
        "INSERT INTO document_versions SELECT id, 1, file_id, content_type, owner_id, created_at"
        " FROM documents"
    )


def _index_lists() -> None:
    op.execute(_NAME_PARTS)
    op.execute(f"GRANT EXECUTE ON FUNCTION name_parts TO {_tenant_role()}")
    for name, columns in {
        "created": "(created_at, id)",
        "updated": "(updated_at, id)",
        "name": "(folded_name, id)",
        "size": "(size, id)",
        "owner": "(owner_id, created_at, id)",
        "content_type": "(content_type text_pattern_ops)",
        "name_parts": "USING gin (name_parts(folded_name))",
        "tags": "USING gin (tags)",
    }.items():
        op.execute(
            f"CREATE INDEX ix_documents_{name} ON documents {columns} WHERE deleted_at IS NULL"
        )
    # In the order of a store's keys.
    op.execute('ALTER TABLE files ALTER COLUMN key TYPE text COLLATE "C"')
    op.execute(
        "CREATE INDEX ix_documents_trash ON documents (deleted_at, id) WHERE deleted_at IS NOT NULL"
    )


def _create_quota() -> None:
    op.add_column("files", sa.Column("charged_bytes", sa.BigInteger(), server_default="0"))
    op.add_column("files", sa.Column("holds_place", sa.Boolean(), server_default="false"))
    op.execute("UPDATE files SET charged_bytes = size WHERE state = 'available'")
    for name in ("charged_bytes", "holds_place"):
        op.alter_column("files", name, nullable=False)
    op.create_table(
        "quota",
        sa.Column("id", sa.SmallInteger(), primary_key=True),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_documents", sa.BigInteger(), nullable=False),
        sa.Column("max_bytes", sa.BigInteger()),
        sa.Column("max_documents", sa.BigInteger()),
        sa.CheckConstraint("id = 1", name="ck_quota_one_row"),
    )
    op.execute(
        "INSERT INTO quota SELECT 1, (SELECT COALESCE(sum(charged_bytes), 0) FROM files),"
        " (SELECT count(*) FROM documents)"
    )
    role = _tenant_role()
    op.execute(f"REVOKE ALL ON quota FROM {role}")
    op.execute(f"GRANT SELECT ON quota TO {role}")
    op.execute(_COUNT_FILES)
    op.execute(_COUNT_DOCUMENTS)
    for table, operations in {"files": tuple(_ROWS), "documents": ("INSERT", "DELETE")}.items():
        for operation in operations:
            op.execute(
                f"CREATE TRIGGER quota_{operation.lower()} AFTER {operation} ON {table}"
                f" REFERENCING {_ROWS[operation]}"
                f" FOR EACH STATEMENT EXECUTE FUNCTION quota_count_{table}()"
            )


def _tenant_role() -> str:
    role: str = op.get_context().opts["installation"].tenant_rw
    return role


def downgrade() -> None:
    for operation in _ROWS:
        op.execute(f"DROP TRIGGER quota_{operation.lower()} ON files")
    for operation in ("INSERT", "DELETE"):
        op.execute(f"DROP TRIGGER quota_{operation.lower()} ON documents")
    op.execute("DROP FUNCTION quota_count_files, quota_count_documents")
    op.drop_table("quota")
    for name in ("charged_bytes", "holds_place"):
        op.drop_column("files", name)
    op.drop_table("document_versions")
    op.execute('ALTER TABLE files ALTER COLUMN key TYPE text COLLATE "default"')
    op.execute("DROP INDEX ix_documents_name_parts")
    op.execute("DROP FUNCTION name_parts")
    for name in (
        "folded_name", "size", "tags", "version", "revision", "deleted_at", "deleted_by",
    ):  # fmt: skip
        op.drop_column("documents", name)
