"""The platform's audit trail becomes a chain of hashes, as a tenant's (docs/audit.md)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, UUID

revision = "0020"
down_revision = "0019"

_USER = "NULLIF(current_setting('app.current_user', true), '')::uuid"
_ADMINISTERS = f"""EXISTS (
    SELECT FROM users WHERE id = {_USER} AND platform_role = 'platform_admin' AND active
)"""
_COLUMNS = (
    ("on_behalf_of", UUID()),
    ("salt", UUID()),
    ("commitment", BYTEA()),
    ("position", sa.BigInteger()),
    ("hash", BYTEA()),
    ("erased_by", UUID()),
)
_FILTERS = ("type", "target", "user_id")
_RECORD = """
CREATE FUNCTION audit_record(
    _id uuid, _type text, _target text, _user uuid, _behalf uuid, _session uuid,
    _address text, _request text, _task text, _details jsonb, _tenant uuid
) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    INSERT INTO platform_audit_entries
        (id, recorded_at, type, target, user_id, on_behalf_of, session_id, request_id, task,
         address, details, salt, commitment, tenant_id)
    SELECT _id, clock_timestamp(), _type, _target, _user, _behalf, _session, _request, _task,
           _address, _details, salt, audit_commitment(salt, _address, _details), _tenant
    FROM gen_random_uuid() salt
    RETURNING recorded_at
$$
"""
_COMMITMENT = """
CREATE FUNCTION audit_commitment(_salt uuid, _address text, _details jsonb) RETURNS bytea
LANGUAGE sql STABLE SET search_path = public, pg_temp
RETURN sha256(convert_to(jsonb_build_array(_salt, _address, _details)::text, 'UTF8'))
"""
# One at a time, by a row that nobody but the owner may lock. Rows from before this revision have no
# commitment yet.
_SEAL = """
CREATE FUNCTION audit_seal(_limit integer)
RETURNS TABLE (sealed integer, head bigint, head_hash bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    _row record;
BEGIN
    PERFORM FROM alembic_version FOR UPDATE;
    sealed := 0;
    SELECT position, hash INTO head, head_hash FROM platform_audit_entries
    WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1;
    head := coalesce(head, 0);
    FOR _row IN
        SELECT id, recorded_at, type, target, user_id, on_behalf_of, session_id, request_id, task,
               tenant_id, given.salt,
               coalesce(e.commitment, audit_commitment(given.salt, address, details))
               AS commitment
        FROM platform_audit_entries e,
             LATERAL (SELECT coalesce(e.salt, gen_random_uuid()) AS salt) given
        WHERE position IS NULL ORDER BY recorded_at, id LIMIT _limit
    LOOP
        sealed := sealed + 1;
        head := head + 1;
        head_hash := sha256(coalesce(head_hash, '') || convert_to(jsonb_build_array(
            head, _row.id,
            to_char(_row.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            _row.type, _row.target, _row.user_id, _row.on_behalf_of, _row.session_id,
            _row.request_id, _row.task, encode(_row.commitment, 'hex'), _row.tenant_id
        )::text, 'UTF8'));
        UPDATE platform_audit_entries
        SET position = head, hash = head_hash, salt = _row.salt, commitment = _row.commitment
        WHERE id = _row.id;
    END LOOP;
    RETURN NEXT;
END
$$
"""
# A tenant's entries wait as long as the job that is to seal them, or as one that was given up.
_BACKLOG = """
CREATE FUNCTION audit_backlog()
RETURNS TABLE (unsealed_trails bigint, oldest_unsealed_seconds double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT count(*), coalesce(extract(epoch FROM now() - min(since)), 0)
    FROM (
        SELECT min(created_at) AS since
        FROM jobs j
        WHERE name = 'audit.seal' AND (state IN ('waiting', 'running') OR state = 'failed' AND NOT
            EXISTS (SELECT FROM jobs later
                    WHERE later.name = j.name AND later.tenant_id = j.tenant_id
                      AND later.state = 'done' AND later.created_at > j.created_at))
        GROUP BY tenant_id
        UNION ALL
        SELECT min(recorded_at) FROM platform_audit_entries WHERE position IS NULL
        HAVING count(*) > 0
    ) trails
$$
"""


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("platform_audit_entries", sa.Column(name, kind))
    op.create_index(
        "uq_platform_audit_entries_position", "platform_audit_entries", ["position"], unique=True
    )
    op.create_index(
        "ix_platform_audit_entries_unsealed",
        "platform_audit_entries",
        ["recorded_at", "id"],
        postgresql_where=sa.text("position IS NULL"),
    )
    for column in _FILTERS:
        op.create_index(
            f"ix_platform_audit_entries_{column}", "platform_audit_entries", [column, "id"]
        )
    # The checkpoints of tenants' trails: entries like any other, and sealed like them.
    op.create_index(
        "ix_platform_audit_entries_checkpoints",
        "platform_audit_entries",
        ["tenant_id", "id"],
        postgresql_where=sa.text("type = 'audit.sealed'"),
    )
    for function in (_COMMITMENT, _RECORD, _SEAL, _BACKLOG):
        op.execute(function)
    names = op.get_context().opts["installation"]
    for name in ("audit_commitment", "audit_record", "audit_seal", "audit_backlog"):
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_record TO {names.app}, {names.platform}")
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_seal TO {names.platform}")
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_backlog TO {names.app}")
    op.execute(
        f"CREATE POLICY administrators ON platform_audit_entries FOR SELECT TO {names.app}"
        f" USING ({_ADMINISTERS})"
    )


def downgrade() -> None:
    op.execute("DROP POLICY administrators ON platform_audit_entries")
    for name in ("audit_backlog", "audit_seal", "audit_record", "audit_commitment"):
        op.execute(f"DROP FUNCTION {name}")
    for name in (
        "ix_platform_audit_entries_checkpoints",
        *(f"ix_platform_audit_entries_{column}" for column in reversed(_FILTERS)),
        "ix_platform_audit_entries_unsealed",
        "uq_platform_audit_entries_position",
    ):
        op.drop_index(name, "platform_audit_entries")
    for name, _ in reversed(_COLUMNS):
        op.drop_column("platform_audit_entries", name)
