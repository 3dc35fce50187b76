"""Documents in bulk: written by the server itself, a million in a minute or two."""

from typing import Final
from uuid import UUID

import psycopg

# By the number of the document: its words, type, owner, tags and time follow from it. One in a
# thousand is rare in everything that lists can be narrowed down by.
_FILES: Final = """
    INSERT INTO files
        (id, key, state, digest, md5, size, charged_bytes, holds_place, created_at, updated_at)
    SELECT md5('file' || n)::uuid, 'tenants/bench/files/' || n, 'available',
           'sha256:' || lpad(to_hex(n), 64, '0'), md5(n::text), 1000 + n %% 100000, 1000, false,
           timestamptz '2026-01-01' + n * interval '1 second',
           timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""
_DOCUMENTS: Final = """
    INSERT INTO documents
        (id, file_id, name, folded_name, content_type, size, owner_id, tags, version, revision,
         created_at, updated_at)
    SELECT md5('document' || n)::uuid, md5('file' || n)::uuid, name, lower(name),
           CASE WHEN rare THEN 'image/png' ELSE 'application/pdf' END, 1000 + n %% 100000,
           CASE WHEN rare THEN md5('Ursula')::uuid ELSE %(owner)s END,
           CASE WHEN rare THEN ARRAY['plan', 'secret'] ELSE ARRAY['plan'] END, 1, 1,
           timestamptz '2026-01-01' + n * interval '1 second',
           timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(%(first)s::int, %(last)s::int) AS n,
         LATERAL (SELECT n %% 1000 = 500 AS rare) AS r,
         LATERAL (SELECT CASE WHEN rare THEN 'Zeppelin ' ELSE 'Report ' END || n || '.pdf' AS name)
             AS named
"""
_VERSIONS: Final = """
    INSERT INTO document_versions
        (document_id, number, file_id, content_type, created_by, created_at)
    SELECT md5('document' || n)::uuid, 1, md5('file' || n)::uuid, 'application/pdf', %(owner)s,
           timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""


def fill(conninfo: str, *, first: int, last: int, owner: UUID) -> None:
    """The documents of these numbers, both ends included, and the statistics about all."""
    given = {"first": first, "last": last, "owner": owner}
    with psycopg.connect(conninfo, autocommit=True) as connection:
        with connection.transaction():
            for statement in (_FILES, _DOCUMENTS, _VERSIONS):
                connection.execute(statement, given)
        # What a server does by itself after a while.
        connection.execute("VACUUM ANALYZE files, documents, document_versions")
