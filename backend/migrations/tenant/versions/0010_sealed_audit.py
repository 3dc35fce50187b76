"""The audit trail becomes a chain of hashes, whose personal part can be erased (docs/audit.md)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA, UUID

revision = "0010"
down_revision = "0009"

# The lock says that somebody appends: whoever seals sees by it that not all is committed yet.
_RECORD = """
CREATE FUNCTION audit_record(
    _id uuid, _type text, _target text, _user uuid, _behalf uuid, _session uuid,
    _address text, _request text, _task text, _details jsonb
) RETURNS timestamptz
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
    SELECT pg_advisory_xact_lock_shared(7309936);
    INSERT INTO audit_entries
        (id, recorded_at, type, target, user_id, on_behalf_of, session_id, request_id, task,
         address, details, salt, commitment)
    SELECT _id, clock_timestamp(), _type, _target, _user, _behalf, _session, _request, _task,
           _address, _details, salt, audit_commitment(salt, _address, _details)
    FROM gen_random_uuid() salt
    RETURNING recorded_at
$$
"""
# What stays secret and can be erased is in the chain by its digest alone.
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
LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
    _row record;
BEGIN
    PERFORM FROM alembic_version FOR UPDATE;
    sealed := 0;
    SELECT position, hash INTO head, head_hash FROM audit_entries
    WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1;
    head := coalesce(head, 0);
    FOR _row IN
        SELECT id, recorded_at, type, target, user_id, on_behalf_of, session_id, request_id, task,
               given.salt, coalesce(e.commitment, audit_commitment(given.salt, address, details))
               AS commitment
        FROM audit_entries e,
             LATERAL (SELECT coalesce(e.salt, gen_random_uuid()) AS salt) given
        WHERE position IS NULL ORDER BY recorded_at, id LIMIT _limit
    LOOP
        sealed := sealed + 1;
        head := head + 1;
        head_hash := sha256(coalesce(head_hash, '') || convert_to(jsonb_build_array(
            head, _row.id,
            to_char(_row.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            _row.type, _row.target, _row.user_id, _row.on_behalf_of, _row.session_id,
            _row.request_id, _row.task, encode(_row.commitment, 'hex')
        )::text, 'UTF8'));
        UPDATE audit_entries
        SET position = head, hash = head_hash, salt = _row.salt, commitment = _row.commitment
        WHERE id = _row.id;
    END LOOP;
    RETURN NEXT;
END
$$
"""


def upgrade() -> None:
    for name, kind in (
        ("on_behalf_of", UUID()),
        ("salt", UUID()),
        ("commitment", BYTEA()),
        ("position", sa.BigInteger()),
        ("hash", BYTEA()),
        ("erased_by", UUID()),
    ):
        op.add_column("audit_entries", sa.Column(name, kind))
    op.execute(_COMMITMENT)
    op.execute(_RECORD)
    op.execute(_SEAL)
    role = op.get_context().opts["installation"].tenant_rw
    op.execute(f"GRANT EXECUTE ON FUNCTION audit_record TO {role}")


def downgrade() -> None:
    op.execute("DROP FUNCTION audit_seal")
    op.execute("DROP FUNCTION audit_record")
    op.execute("DROP FUNCTION audit_commitment")
    for name in ("erased_by", "hash", "position", "commitment", "salt", "on_behalf_of"):
        op.drop_column("audit_entries", name)
