"""Hostile SQL: what somebody tries who may run any statement as one tenant's own role.

In braces stand the names of an installation: ``acme`` (whose role it is), ``globex`` (another
tenant; a tenant's role has its database's name), ``main`` (the main database), ``pid`` (a session
of globex), and the roles and the template of `app.tenancy.names.Installation`.
"""

from collections.abc import Mapping
from typing import Any, Final

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

# SQLSTATEs, by what they say of the attempt.
DENIED: Final = "42501"
NOT_GRANTED: Final = "01007"  # a warning: GRANT by one who holds no grant option does nothing
SKIPPED: Final = "01000"  # a warning: VACUUM passes over what is not one's own
UNKNOWN_OBJECT: Final = "42704"
UNKNOWN_FUNCTION: Final = "42883"
NOT_READY: Final = "55000"
NO_PROVIDER: Final = "22023"
NO_SUCH_FILE: Final = "58P01"
NO_SUCH_FEATURE: Final = "0A000"

# Statement → the SQLSTATEs it may be refused with; several where the server's version or its
# build decides which check comes first.
ATTACKS: Final[Mapping[str, frozenset[str]]] = {
    sql: frozenset(states)
    for states, statements in (
        # Becoming somebody else.
        (
            {DENIED},
            (
                'SET ROLE "{globex}"',
                'RESET ROLE; SET ROLE "{globex}"',
                "SET ROLE {schema_owner}",
                "SET ROLE {provisioner}",
                "SET ROLE {app}",
                "SET ROLE {platform}",
                "SET ROLE postgres",
                "SET ROLE pg_read_server_files",
                'SET SESSION AUTHORIZATION "{globex}"',
                "SET SESSION AUTHORIZATION {schema_owner}",
                "SET SESSION AUTHORIZATION {tenant_rw}",
                "SET SESSION AUTHORIZATION postgres",
                "RESET SESSION AUTHORIZATION; SET SESSION AUTHORIZATION {provisioner}",
                "SELECT set_config('role', 'postgres', false)",
                "SELECT set_config('session_authorization', 'postgres', false)",
            ),
        ),
        # The audit trail.
        (
            {DENIED},
            (
                "INSERT INTO audit_entries SELECT * FROM audit_entries",
                "UPDATE audit_entries SET user_id = NULL",
                "DELETE FROM audit_entries",
                "TRUNCATE audit_entries",
                "UPDATE audit_entries SET position = NULL, hash = NULL",
                "INSERT INTO audit_entries DEFAULT VALUES",
                "COPY audit_entries FROM STDIN",
                "SELECT audit_seal(10)",
                "SELECT audit_commitment(NULL, NULL, NULL)",
                "SELECT FROM alembic_version FOR UPDATE",
                "SELECT * FROM audit_entries FOR UPDATE",
                "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
                "DROP TABLE audit_entries",
                "ALTER TABLE audit_entries OWNER TO CURRENT_USER",
                "CREATE TRIGGER intruder BEFORE INSERT ON audit_entries EXECUTE FUNCTION now()",
                "CREATE RULE intruder AS ON INSERT TO audit_entries DO INSTEAD NOTHING",
                "DROP FUNCTION audit_record",
                "ALTER FUNCTION audit_record SECURITY INVOKER",
                "DROP FUNCTION audit_append",
            ),
        ),
        ({NOT_GRANTED}, ("GRANT INSERT ON audit_entries TO {tenant_rw}",)),
        # Roles.
        (
            {DENIED},
            (
                "CREATE ROLE intruder LOGIN SUPERUSER",
                "CREATE USER intruder",
                'ALTER ROLE "{acme}" SUPERUSER',
                'ALTER ROLE "{acme}" CREATEDB CREATEROLE',
                'ALTER ROLE "{acme}" BYPASSRLS',
                'ALTER ROLE "{acme}" REPLICATION',
                'ALTER ROLE "{acme}" CONNECTION LIMIT 1000',
                "ALTER ROLE \"{acme}\" VALID UNTIL 'infinity'",
                "ALTER ROLE \"{globex}\" PASSWORD 'known'",
                "ALTER ROLE \"{globex}\" SET search_path = 'pg_temp'",
                "ALTER ROLE ALL SET statement_timeout = '1ms'",
                "ALTER ROLE {tenant_rw} LOGIN PASSWORD 'known'",
                'DROP ROLE "{globex}"',
                "DROP ROLE {tenant_rw}",
                "COMMENT ON ROLE \"{acme}\" IS 'nobody''s'",
                'GRANT {tenant_rw} TO "{globex}"',
                'GRANT {schema_owner} TO "{acme}"',
                'GRANT pg_read_all_data TO "{acme}"',
                'GRANT "{globex}" TO "{acme}"',
                'GRANT "{acme}" TO "{globex}"',
                'GRANT "{acme}" TO {tenant_rw}',
                'GRANT "{acme}" TO {app}',
                'REVOKE {tenant_rw} FROM "{globex}"',
                "REASSIGN OWNED BY {schema_owner} TO CURRENT_USER",
                "DROP OWNED BY {schema_owner}",
                'DROP OWNED BY "{globex}"',
            ),
        ),
        # Databases and the server.
        (
            {DENIED},
            (
                "CREATE DATABASE intruder",
                'CREATE DATABASE intruder TEMPLATE "{globex}"',
                "CREATE DATABASE intruder TEMPLATE {template}",
                'DROP DATABASE "{acme}"',
                'DROP DATABASE "{globex}" WITH (FORCE)',
                'ALTER DATABASE "{acme}" OWNER TO CURRENT_USER',
                'ALTER DATABASE "{acme}" RENAME TO intruder',
                'ALTER DATABASE "{acme}" IS_TEMPLATE true',
                "ALTER DATABASE \"{globex}\" SET search_path = 'pg_temp'",
                'ALTER DATABASE "{globex}" ALLOW_CONNECTIONS false',
                "COMMENT ON DATABASE \"{acme}\" IS 'nobody''s'",
                "SELECT pg_database_size('{globex}')",
                "ALTER SYSTEM SET work_mem = '1GB'",
                "SELECT pg_reload_conf()",
                "SELECT pg_rotate_logfile()",
                "CHECKPOINT",
                "SELECT pg_switch_wal()",
                "SELECT pg_create_restore_point('here')",
                "SELECT pg_promote()",
                "SELECT pg_backup_start('here')",
                "SELECT pg_stat_reset()",
                "SELECT pg_terminate_backend({pid})",
                "SELECT pg_cancel_backend({pid})",
                "SELECT pg_log_backend_memory_contexts({pid})",
                "SELECT pg_replication_origin_create('here')",
                "SELECT pg_create_physical_replication_slot('here')",
                "SET session_replication_role = 'replica'",
                "SET log_statement = 'none'",
                "SET lc_messages = 'C'",
                "SET allow_system_table_mods = on",
                "SET session_preload_libraries = 'x'",
                "LOAD '/tmp/intruder.so'",
                "CREATE TABLESPACE intruder LOCATION '/tmp'",
            ),
        ),
        # Making something of one's own.
        (
            {DENIED},
            (
                "CREATE SCHEMA intruder",
                'CREATE SCHEMA IF NOT EXISTS AUTHORIZATION "{acme}"',
                "CREATE TABLE intruder (id int)",
                "CREATE TABLE pg_catalog.intruder (id int)",
                "SELECT * INTO intruder FROM documents",
                "CREATE TEMP TABLE intruder (id int)",
                "CREATE TEMP SEQUENCE intruder",
                "CREATE TEMP VIEW intruder AS SELECT 1",
                "CREATE UNLOGGED TABLE intruder (id int)",
                "CREATE VIEW intruder AS SELECT 1",
                "CREATE MATERIALIZED VIEW intruder AS SELECT 1",
                "CREATE SEQUENCE intruder",
                "CREATE TYPE intruder AS ENUM ('a')",
                "CREATE DOMAIN intruder AS text",
                'CREATE COLLATION intruder FROM "C"',
                "CREATE FUNCTION intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "CREATE FUNCTION pg_temp.intruder() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "CREATE PROCEDURE intruder() LANGUAGE plpgsql AS 'BEGIN END'",
                "CREATE AGGREGATE intruder(int) (sfunc = int4pl, stype = int)",
                "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)",
                "CREATE PUBLICATION intruder",
                "CREATE PUBLICATION intruder FOR ALL TABLES",
                "CREATE ACCESS METHOD intruder TYPE INDEX HANDLER bthandler",
                "DO $$ BEGIN PERFORM 1; END $$",
                "DO LANGUAGE plpgsql $$ BEGIN EXECUTE 'RESET ROLE'; END $$",
            ),
        ),
        ({NO_SUCH_FEATURE}, ('ALTER ROLE "{acme}" RENAME TO intruder',)),
        # 0A000 where the server's build has no such extension.
        (
            {DENIED, NO_SUCH_FEATURE},
            (
                "CREATE EXTENSION dblink",
                "CREATE EXTENSION postgres_fdw",
                "CREATE EXTENSION hstore",
                "CREATE EXTENSION plpython3u",
                "CREATE LANGUAGE plperl",
            ),
        ),
        ({DENIED}, ("CREATE EVENT TRIGGER intruder ON ddl_command_end EXECUTE FUNCTION now()",)),
        (
            {DENIED},
            ("CREATE SUBSCRIPTION intruder CONNECTION 'dbname={globex}' PUBLICATION everything",),
        ),
        (
            {UNKNOWN_OBJECT},
            (
                "CREATE SERVER intruder FOREIGN DATA WRAPPER postgres_fdw",
                "CREATE SERVER intruder FOREIGN DATA WRAPPER dblink_fdw",
                "CREATE USER MAPPING FOR CURRENT_USER SERVER loopback",
            ),
        ),
        ({UNKNOWN_FUNCTION}, ("SELECT dblink('dbname={globex}', 'SELECT 1')",)),
        ({UNKNOWN_FUNCTION}, ("SELECT dblink_connect('dbname={globex}')",)),
        ({NO_PROVIDER}, ("SECURITY LABEL ON TABLE documents IS 'secret'",)),
        ({NOT_READY}, ("BEGIN; PREPARE TRANSACTION 'intruder'",)),
        # The tenant's own tables, beyond their rows.
        (
            {DENIED},
            (
                "ALTER TABLE documents ADD COLUMN intruder text",
                "ALTER TABLE documents OWNER TO CURRENT_USER",
                "ALTER TABLE documents DISABLE TRIGGER ALL",
                "ALTER TABLE documents DISABLE ROW LEVEL SECURITY",
                "DROP TABLE documents",
                "TRUNCATE documents",
                "CREATE INDEX intruder ON documents (name)",
                "CREATE TRIGGER intruder BEFORE INSERT ON documents EXECUTE FUNCTION now()",
                "CREATE RULE intruder AS ON INSERT TO documents DO INSTEAD NOTHING",
                "CREATE POLICY intruder ON documents",
                "CREATE STATISTICS intruder ON id, name FROM documents",
                "COMMENT ON TABLE documents IS 'mine'",
                "ALTER DEFAULT PRIVILEGES FOR ROLE {schema_owner} GRANT ALL ON TABLES TO PUBLIC",
                "SELECT * FROM alembic_version",
                "UPDATE alembic_version SET version_num = '9999'",
                "DELETE FROM alembic_version",
                "REINDEX TABLE documents",
                'REINDEX DATABASE "{acme}"',
                "CLUSTER documents USING pk_documents",
                "DROP SCHEMA public CASCADE",
                "ALTER SCHEMA public OWNER TO CURRENT_USER",
            ),
        ),
        (
            {NOT_GRANTED},
            (
                'GRANT CONNECT ON DATABASE "{acme}" TO PUBLIC',
                'GRANT CONNECT ON DATABASE "{acme}" TO "{globex}"',
                'GRANT ALL ON DATABASE "{acme}" TO CURRENT_USER',
                "GRANT SELECT ON documents TO PUBLIC",
                "GRANT ALL ON documents TO CURRENT_USER WITH GRANT OPTION",
                "GRANT USAGE ON SCHEMA public TO PUBLIC",
                "GRANT CREATE ON SCHEMA pg_catalog TO CURRENT_USER",
            ),
        ),
        ({DENIED}, ('GRANT CONNECT ON DATABASE "{globex}" TO PUBLIC',)),
        ({SKIPPED}, ("VACUUM FULL documents", "ANALYZE documents")),
        # Files, programs, large objects.
        (
            {DENIED},
            (
                "COPY documents TO PROGRAM 'cat'",
                "COPY documents FROM PROGRAM 'id'",
                "COPY documents TO '/tmp/intruder'",
                "COPY documents (name) FROM '/etc/passwd'",
                "SELECT pg_read_file('/etc/passwd')",
                "SELECT pg_read_file('postgresql.conf')",
                "SELECT pg_read_binary_file('/etc/passwd')",
                "SELECT pg_ls_dir('.')",
                "SELECT pg_ls_logdir()",
                "SELECT pg_ls_waldir()",
                "SELECT pg_ls_tmpdir()",
                "SELECT pg_stat_file('/etc/passwd')",
                "SELECT pg_current_logfile()",
                "SELECT lo_import('/etc/passwd')",
                "SELECT lo_export(1, '/tmp/intruder')",
                "SELECT lo_creat(-1)",
                "SELECT lo_create(0)",
                "SELECT lo_from_bytea(0, 'x')",
                "SELECT lo_put(1, 0, 'x')",
                "SELECT lo_get(1)",
                "SELECT lo_open(1, 131072)",
                "SELECT lo_unlink(1)",
            ),
        ),
        # What the catalogue keeps from everybody.
        (
            {DENIED},
            (
                "SELECT rolpassword FROM pg_authid",
                "SELECT passwd FROM pg_shadow",
                "SELECT * FROM pg_hba_file_rules",
                "SELECT * FROM pg_file_settings",
                "SELECT * FROM pg_statistic",
                "SELECT umoptions FROM pg_user_mapping",
                "SELECT subconninfo FROM pg_subscription",
                "SELECT * FROM pg_largeobject",
                "SELECT * FROM pg_config",
                "SHOW data_directory",
                "SHOW hba_file",
                "UPDATE pg_database SET datacl = NULL",
                "UPDATE pg_authid SET rolsuper = true",
                "INSERT INTO pg_auth_members SELECT * FROM pg_auth_members",
                "DELETE FROM pg_class",
            ),
        ),
    )
    for sql in statements
}


def refusal(connection: Connection, sql: str) -> str | None:
    """The SQLSTATE of the error or warning that the statement meets; None if it is carried out."""
    warnings: list[str | None] = []

    def listen(diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            warnings.append(diagnostic.sqlstate)

    connection.add_notice_handler(listen)
    try:
        connection.execute(sql.encode())
    except psycopg.Error as error:
        return error.sqlstate
    finally:
        connection.remove_notice_handler(listen)
    return warnings[0] if warnings else None
