"""The auditor: silent where tenants are kept apart, and not silent where one thing was broken."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from app.domains.fleet.service import auditing, reports
from app.domains.fleet.service.auditing import Audit
from app.domains.tenants.service import lifecycle
from app.domains.tenants.service.ledger import FleetEntry
from tests.cast import Person
from tests.domains.fleet.conftest import new_fleet, remove_fleet
from tests.domains.fleet.trees import HEAD
from tests.paths import PROJECT
from tests.tenancy.laboratory import Laboratory

KEY = SecretStr("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


@pytest.fixture(scope="module")
def pair(lab: Laboratory, alice: Person) -> Iterator[tuple[FleetEntry, FleetEntry]]:
    """Two tenants that stay for the module; what a test breaks, it mends."""
    acme, globex = new_fleet(lab, alice, 2)
    yield acme, globex
    remove_fleet(lab)


Pair = tuple[FleetEntry, FleetEntry]


def audit(lab: Laboratory) -> Audit:
    return auditing.audit(lab.manager, lab.settings, jobs=2, tell=lambda *_: None)


def test_nothing_is_found_where_nothing_is_wrong(lab: Laboratory, pair: Pair) -> None:
    done = audit(lab)
    assert done.breaches == []
    assert (done.tenants, done.attempts) == (2, 2 * 17)
    assert done.started_at < done.finished_at


# What is broken, by whom it is found (any of), and how it is mended; {acme} and {globex} are the
# names of their databases and roles. In the database acme where `inside` is true.
BROKEN: dict[str, tuple[str, str, set[str], bool]] = {
    "public connects": (
        'GRANT CONNECT ON DATABASE "{globex}" TO PUBLIC',
        'REVOKE CONNECT ON DATABASE "{globex}" FROM PUBLIC',
        {"public rights", "attempt: connect"},
        False,
    ),
    "public has temp": (
        'GRANT TEMP ON DATABASE "{acme}" TO PUBLIC',
        'REVOKE TEMP ON DATABASE "{acme}" FROM PUBLIC',
        {"public rights", "inside: database", "attempt: statement"},
        False,
    ),
    "public connects to the main database": (
        "GRANT CONNECT ON DATABASE {main} TO PUBLIC",
        "REVOKE CONNECT ON DATABASE {main} FROM PUBLIC",
        {"public rights", "attempt: connect"},
        False,
    ),
    "a stranger connects": (
        'GRANT CONNECT ON DATABASE "{globex}" TO "{acme}"',
        'REVOKE CONNECT ON DATABASE "{globex}" FROM "{acme}"',
        {"database grants", "granted directly", "attempt: connect"},
        False,
    ),
    "the group connects": (
        'GRANT CONNECT ON DATABASE "{globex}" TO {tenant_rw}',
        'REVOKE CONNECT ON DATABASE "{globex}" FROM {tenant_rw}',
        {"database grants", "attempt: connect"},
        False,
    ),
    "creates in its database": (
        'GRANT CREATE ON DATABASE "{acme}" TO "{acme}"',
        'REVOKE CREATE ON DATABASE "{acme}" FROM "{acme}"',
        {"database grants", "inside: database", "attempt: statement"},
        False,
    ),
    "a template is open": (
        (
            "GRANT CONNECT ON DATABASE {template} TO PUBLIC;"
            " ALTER DATABASE {template} ALLOW_CONNECTIONS true"
        ),
        (
            "ALTER DATABASE {template} ALLOW_CONNECTIONS false; "
            "REVOKE CONNECT ON DATABASE {template} FROM PUBLIC"
        ),
        {"public rights", "attempt: connect"},
        False,
    ),
    "a superuser": (
        'ALTER ROLE "{acme}" SUPERUSER',
        'ALTER ROLE "{acme}" NOSUPERUSER',
        {
            "role powers",
            "attempt: connect",
            "attempt: statement",
            "inside: schema",
            "inside: database",
            "inside: tables",
            "inside: version",
            "inside: large objects",
            "inside: languages",
        },
        False,
    ),
    "passes over policies": (
        "ALTER ROLE {app} BYPASSRLS",
        "ALTER ROLE {app} NOBYPASSRLS",
        {"role powers"},
        False,
    ),
    "creates roles": (
        'ALTER ROLE "{acme}" CREATEROLE',
        'ALTER ROLE "{acme}" NOCREATEROLE',
        {"role powers"},
        False,
    ),
    "the owner of schemas logs in": (
        "ALTER ROLE {schema_owner} LOGIN",
        "ALTER ROLE {schema_owner} NOLOGIN",
        {"role powers"},
        False,
    ),
    "a member of the owner": (
        'GRANT {schema_owner} TO "{acme}"',
        'REVOKE {schema_owner} FROM "{acme}"',
        {
            "memberships",
            "attempt: statement",
            "attempt: connect",
            "inside: schema",
            "inside: database",
            "inside: tables",
            "inside: version",
            "inside: languages",
        },
        False,
    ),
    "a member of another tenant": (
        'GRANT "{globex}" TO "{acme}"',
        'REVOKE "{globex}" FROM "{acme}"',
        {"memberships", "attempt: connect", "attempt: statement"},
        False,
    ),
    "gives its group on": (
        'GRANT {tenant_rw} TO "{acme}" WITH ADMIN OPTION',
        'REVOKE ADMIN OPTION FOR {tenant_rw} FROM "{acme}"',
        {"memberships"},
        False,
    ),
    "the group of tenants is in a group": (
        "GRANT pg_read_all_data TO {tenant_rw}",
        "REVOKE pg_read_all_data FROM {tenant_rw}",
        {"memberships", "inside: version"},
        False,
    ),
    "owns a table": (
        'ALTER TABLE documents OWNER TO "{acme}"',
        "ALTER TABLE documents OWNER TO {schema_owner}",
        {"owned", "inside: tables"},
        True,
    ),
    "was granted a table": (
        'GRANT SELECT ON documents TO "{acme}"',
        'REVOKE SELECT ON documents FROM "{acme}"',
        {"granted directly"},
        True,
    ),
    "public reads a table": (
        "GRANT SELECT ON documents TO PUBLIC",
        "REVOKE SELECT ON documents FROM PUBLIC",
        {"inside: public tables"},
        True,
    ),
    "empties a table": (
        "GRANT TRUNCATE ON documents TO {tenant_rw}",
        "REVOKE TRUNCATE ON documents FROM {tenant_rw}",
        {"inside: tables"},
        True,
    ),
    "creates tables": (
        "GRANT CREATE ON SCHEMA public TO {tenant_rw}",
        "REVOKE CREATE ON SCHEMA public FROM {tenant_rw}",
        {"inside: schema", "attempt: statement"},
        True,
    ),
    "writes the version row": (
        "GRANT SELECT, UPDATE ON alembic_version TO {tenant_rw}",
        "REVOKE ALL ON alembic_version FROM {tenant_rw}",
        {"inside: version", "attempt: statement"},
        True,
    ),
    "makes large objects": (
        "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
        "REVOKE EXECUTE ON FUNCTION lo_create(oid) FROM PUBLIC",
        {"inside: large objects", "attempt: statement"},
        True,
    ),
    "writes programs": (
        "GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC",
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        {"inside: languages", "attempt: statement"},
        True,
    ),
    "acts as the owner": (
        (
            "CREATE FUNCTION own() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; "
            "GRANT EXECUTE ON FUNCTION own() TO PUBLIC"
        ),
        "DROP FUNCTION own()",
        {"inside: definer functions"},
        True,
    ),
    "cannot log in": (
        'ALTER ROLE "{acme}" NOLOGIN',
        'ALTER ROLE "{acme}" LOGIN',
        {"attempt: login"},
        False,
    ),
}

# Before PostgreSQL 16 who may create roles may also grant any of them to itself.
_ON_SOME_SERVERS = {"creates roles": {"attempt: statement"}}


@contextmanager
def broken(lab: Laboratory, pair: Pair, what: str) -> Iterator[None]:
    breaks, mends, _, inside = BROKEN[what]
    installation = lab.installation
    names = {
        "acme": pair[0].location.database,
        "globex": pair[1].location.database,
        "main": installation.id,
        "template": installation.template(HEAD),
        "tenant_rw": installation.tenant_rw,
        "schema_owner": installation.schema_owner,
        "app": installation.app,
    }
    with lab.as_superuser(names["acme"] if inside else "postgres") as superuser:
        try:
            for statement in breaks.format(**names).split("; "):
                superuser.execute(statement.encode())
            yield
        finally:
            for statement in mends.format(**names).split("; "):
                superuser.execute(statement.encode())


@pytest.mark.parametrize("what", BROKEN)
def test_each_broken_thing_is_found(lab: Laboratory, pair: Pair, what: str) -> None:
    with broken(lab, pair, what):
        found = {breach.check for breach in audit(lab).breaches}
    assert found - _ON_SOME_SERVERS.get(what, set()) == BROKEN[what][2]


def test_nothing_that_got_through_is_left_behind(lab: Laboratory, pair: Pair) -> None:
    with broken(lab, pair, "creates tables"):
        assert any("CREATE TABLE intruder" in each.words for each in audit(lab).breaches)
    with lab.as_superuser(pair[0].location.database) as superuser:
        assert superuser.execute("SELECT to_regclass('intruder')").fetchone() == (None,)
    assert audit(lab).breaches == []


def test_a_suspended_tenant_is_to_be_shut_out(lab: Laboratory, pair: Pair) -> None:
    lifecycle.suspend(lab.manager, tenant_id=pair[0].tenant_id)
    try:
        assert audit(lab).breaches == []
        with lab.as_superuser() as superuser:
            superuser.execute(f'ALTER ROLE "{pair[0].location.role}" LOGIN'.encode())
        [breach] = audit(lab).breaches
        assert breach.check == "attempt: connect"
        assert breach.words == f"{pair[0].location.role} may connect to {pair[0].location.database}"
    finally:
        lifecycle.resume(lab.manager, tenant_id=pair[0].tenant_id)


def test_a_tenant_that_cannot_be_examined_is_no_pass(lab: Laboratory, pair: Pair) -> None:
    name = pair[0].location.database
    with lab.as_superuser() as superuser:
        superuser.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        try:
            assert "not examined" in {breach.check for breach in audit(lab).breaches}
        finally:
            superuser.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


def test_others_databases_that_are_open_are_a_warning(lab: Laboratory, pair: Pair) -> None:
    name = f"stranger_{pair[0].tenant_id.hex}"
    with lab.as_superuser() as superuser:
        superuser.execute(f"CREATE DATABASE {name}".encode())
        try:
            done = audit(lab)
        finally:
            superuser.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    assert done.breaches == []
    assert name in {warning.subject for warning in done.warnings}


def test_a_report_is_signed_for_those_who_were_not_there(lab: Laboratory, pair: Pair) -> None:
    report = reports.signed(audit(lab), KEY)
    key = report["public_key"]
    assert reports.is_genuine(report, key)
    assert reports.is_genuine(json.loads(json.dumps(report, indent=3)), key)
    report["report"]["counts"]["tenants"] += 1
    assert not reports.is_genuine(report, key)
    report["report"]["counts"]["tenants"] -= 1
    assert reports.is_genuine(report, key)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert not reports.is_genuine(report, reports._text(other))
    assert not reports.is_genuine({}, key)
    assert not reports.is_genuine(report, "no key")


def run(
    name: str, lab: Laboratory, *arguments: str, **more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, PROJECT / "scripts" / name, *arguments],
        env=lab.environment() | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_script(lab: Laboratory, pair: Pair, tmp_path: Path) -> None:
    script, path = "audit_isolation.py", tmp_path / "report.json"
    assert run(script, lab, "--help").returncode == 0
    unsigned = run(script, lab, "--report", str(path))
    assert (unsigned.returncode, path.exists()) == (2, False)
    key = KEY.get_secret_value()
    done = run(script, lab, "--report", str(path), "--json", REPORT_SIGNING_KEY=key)
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert written["report"]["counts"]["tenants"] == 2
    public = written["public_key"]
    assert run(script, lab, "--check", str(path), "--public-key", public).stdout == "genuine\n"
    path.write_text(path.read_text().replace('"breaches": []', '"breaches": [ ]'))
    assert run(script, lab, "--check", str(path), "--public-key", public).returncode == 0
    path.write_text(path.read_text().replace('"tenants": 2', '"tenants": 3'))
    assert run(script, lab, "--check", str(path), "--public-key", public).returncode == 1
    assert run(script, lab, "--check", str(path)).returncode == 2
    with broken(lab, pair, "a stranger connects"):
        told = run(script, lab)
    assert told.returncode == 1
    assert f"BREACH   attempt: connect   {pair[0].location.role} may connect to" in told.stdout
    assert run(script, lab, REPORT_SIGNING_KEY="short").returncode == 1


def test_the_drift_script(lab: Laboratory, pair: Pair) -> None:
    script = "detect_drift.py"
    assert run(script, lab, "--help").returncode == 0
    well = run(script, lab, "--json")
    assert (well.returncode, json.loads(well.stdout)) == (0, {"inspected": 2, "drifted": []})
    with lab.manager.server.connect_as_owner(pair[1].location.database) as connection:
        connection.execute("ALTER TABLE documents ADD COLUMN stray text")
        told = run(script, lab, "--sql")
        assert told.returncode == 1
        assert "column public.documents.stray should not be there" in told.stdout
        repair = "-- loses data: ALTER TABLE public.documents DROP COLUMN stray;"
        assert repair in told.stdout
        [drifted] = json.loads(run(script, lab, "--json").stdout)["drifted"]
        assert drifted["tenant_id"] == str(pair[1].tenant_id)
        assert [each["repair"] for each in drifted["differences"]] == [repair]
        only = run(script, lab, "--tenant-id", str(pair[0].tenant_id))
        assert (only.returncode, only.stdout.split()[0]) == (0, "1")
        connection.execute(repair.removeprefix("-- loses data: ").encode())
    assert run(script, lab, "--sample", "1").returncode == 0
