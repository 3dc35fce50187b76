"""A tenant role's login: the keys of RFC 5802, as the server computes them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from app.tenancy.credentials import Credentials
from tests.tenancy.attacks import Connection
from tests.tenancy.laboratory import Laboratory


@pytest.fixture
def superuser(lab: Laboratory) -> Iterator[Connection]:
    with lab.as_superuser() as connection:
        yield connection


@pytest.fixture
def role(lab: Laboratory, superuser: Connection) -> Iterator[str]:
    """A role that may enter the main database, its password not yet set."""
    name = f"{lab.installation.id}_scram_{secrets.token_hex(4)}"
    superuser.execute(f"CREATE ROLE {name} LOGIN".encode())
    superuser.execute(f"GRANT CONNECT ON DATABASE {lab.installation.id} TO {name}".encode())
    yield name
    superuser.execute(f"DROP OWNED BY {name}".encode())
    superuser.execute(f"DROP ROLE {name}".encode())


def set_verifier(superuser: Connection, role: str, credentials: Credentials) -> None:
    superuser.execute(
        sql.SQL("ALTER ROLE {role} PASSWORD {verifier}").format(
            role=sql.Identifier(role), verifier=sql.Literal(credentials.verifier)
        )
    )


def log_in(lab: Laboratory, role: str, **login: str) -> None:
    address = lab.manager.server._address | {"user": role, "dbname": lab.installation.id}
    with psycopg.connect(make_conninfo(**(address | login))) as connection:
        connection.execute("SELECT 1")


def test_the_example_of_rfc_7677(monkeypatch: pytest.MonkeyPatch) -> None:
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    monkeypatch.setattr(secrets, "token_bytes", lambda _count: salt)
    credentials = Credentials.of_password("pencil")
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
    ).encode()
    client_key = base64.b64decode(credentials.client_key)
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    assert base64.b64encode(proof) == b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    server_signature = hmac.digest(base64.b64decode(credentials.server_key), message, "sha256")
    assert base64.b64encode(server_signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("password", ["pencil", "with 'quotes' \\ and spaces", "x" * 200])
def test_the_server_takes_password_and_keys_for_the_verifier(
    lab: Laboratory, superuser: Connection, role: str, password: str
) -> None:
    credentials = Credentials.of_password(password)
    set_verifier(superuser, role, credentials)
    log_in(lab, role, password=password)
    log_in(lab, role, **credentials.connect_arguments())
    stored = superuser.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)
    ).fetchone()
    assert stored == (credentials.verifier,)


def test_the_servers_own_verifier_has_the_same_keys(
    lab: Laboratory, superuser: Connection, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    superuser.execute("SET password_encryption = 'scram-sha-256'")
    superuser.execute(f"ALTER ROLE {role} PASSWORD 'pencil'".encode())
    row = superuser.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (role,)
    ).fetchone()
    assert row is not None
    salt = row[0].split("$")[1].partition(":")[2]
    monkeypatch.setattr(secrets, "token_bytes", lambda _count: base64.b64decode(salt))
    assert Credentials.of_password("pencil").verifier == row[0]


def test_anything_else_is_refused(lab: Laboratory, superuser: Connection, role: str) -> None:
    """The negative control: the server does ask."""
    credentials, other = Credentials.generate(), Credentials.generate()
    set_verifier(superuser, role, credentials)
    keys = {"scram_client_key": other.client_key, "scram_server_key": credentials.server_key}
    for login in ({"password": other.password}, {"password": ""}, other.connect_arguments(), keys):
        with pytest.raises(psycopg.OperationalError):
            log_in(lab, role, **login)


def test_a_server_that_does_not_know_the_keys_is_not_trusted(
    lab: Laboratory, superuser: Connection, role: str
) -> None:
    """SCRAM is mutual: a server that only collects passwords is found out."""
    credentials = Credentials.generate()
    set_verifier(superuser, role, credentials)
    keys = {
        "scram_client_key": credentials.client_key,
        "scram_server_key": Credentials.generate().server_key,
    }
    with pytest.raises(psycopg.OperationalError, match="incorrect server signature"):
        log_in(lab, role, **keys)


def test_they_survive_being_stored() -> None:
    credentials = Credentials.generate()
    assert Credentials.loads(credentials.dumps()) == credentials


def test_they_are_not_told_to_a_log() -> None:
    credentials = Credentials.generate()
    shown = f"{credentials!r} {credentials} {[credentials]}"
    for secret in (credentials.password, credentials.client_key, credentials.server_key):
        assert secret not in shown


def test_no_two_are_alike() -> None:
    made = [Credentials.generate() for _ in range(20)]
    assert len({each.password for each in made} | {each.salt for each in made}) == 40
    same = Credentials.of_password("pencil"), Credentials.of_password("pencil")
    assert same[0].verifier != same[1].verifier
    assert replace(same[0], salt="") != replace(same[1], salt="")
