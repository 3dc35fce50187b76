"""The embedded PostgreSQL: its life, and everything that it refuses."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from embedded import cluster, privileges
from embedded.errors import EmbeddedError, FolderBusy, PortTaken
from embedded.ports import free_port
from embedded.postgres import PostgresServer


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that a server has written and closed, in a path with spaces."""
    data = tmp_path_factory.mktemp("with spaces") / "post gres"
    with (
        PostgresServer(data, durable=False) as server,
        psycopg.connect(server.admin_url) as session,
    ):
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    return data


@pytest.fixture
def server(used: Path) -> Iterator[PostgresServer]:
    with PostgresServer(used, durable=False) as server:
        yield server


def value(server: PostgresServer, query: str) -> object:
    with psycopg.connect(server.admin_url) as session:
        row = session.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_second_start_finds_the_data(server: PostgresServer) -> None:
    assert value(server, "SELECT answer FROM kept") == 42


def test_it_speaks_utf8_on_a_private_socket_only(server: PostgresServer) -> None:
    assert value(server, "SHOW server_encoding") == "UTF8"
    assert value(server, "SHOW listen_addresses") == ""
    assert value(server, "SELECT lower('ÄÉ')") == "äé"
    folder = Path(str(value(server, "SHOW unix_socket_directories")).strip('"'))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    server.stop()
    assert not folder.exists()


def test_nobody_gets_in_without_the_password(server: PostgresServer) -> None:
    account, _, place = server.admin_url.partition("@")
    without = f"{account.rpartition(':')[0]}:wrong@{place}"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(without)


def test_the_password_is_the_owners_alone(used: Path) -> None:
    assert stat.S_IMODE((used / "superuser-password").stat().st_mode) == 0o600


def test_a_port_is_opened_on_loopback_alone(used: Path) -> None:
    port = free_port()
    with PostgresServer(used, durable=False, port=port) as server:
        assert f"@127.0.0.1:{port}/" in server.admin_url
        assert value(server, "SHOW listen_addresses") == "127.0.0.1"
        with pytest.raises(PortTaken, match=str(port)):
            PostgresServer(used.with_name("other"), port=port).start()


def test_two_servers_never_share_their_data(server: PostgresServer) -> None:
    with pytest.raises(FolderBusy, match=str(os.getpid())):
        PostgresServer(server.data_dir).start()


def test_a_live_server_is_noticed_without_the_lock(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_SECONDS_TO_FINISH", 0.2)
    (server.data_dir / "lock").unlink()
    with pytest.raises(FolderBusy, match=f"process {server.child.pid}"):
        PostgresServer(server.data_dir).start()
    assert server.child.alive


def test_a_stale_pid_file_is_forgotten(used: Path) -> None:
    """Also when another program, here this one, has got the process id by now."""
    lines = [str(os.getpid()), str(used / "cluster"), "0", "5432", "/nowhere", "", "", "ready"]
    (used / "cluster" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with PostgresServer(used, durable=False) as server:
        assert value(server, "SELECT 1") == 1


def test_a_killed_server_starts_again(used: Path) -> None:
    with PostgresServer(used, durable=False) as server:
        os.kill(server.child.pid, 9)
        server.child.stop()
    with PostgresServer(used, durable=False) as server:
        assert value(server, "SELECT answer FROM kept") == 42


def test_data_of_another_major_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("11\n")
    with pytest.raises(EmbeddedError, match="made by PostgreSQL 11"):
        PostgresServer(tmp_path).start()


def test_a_lost_password_is_explained(tmp_path: Path) -> None:
    major = cluster.server_version(cluster.wheel_bin_dir()).split(".")[0]
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text(f"{major}\n")
    with pytest.raises(EmbeddedError, match="superuser-password is missing"):
        PostgresServer(tmp_path).start()


def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "cluster.new").mkdir()
    (tmp_path / "cluster.new" / "half").touch()
    with PostgresServer(tmp_path, durable=False) as server:
        assert value(server, "SELECT 1") == 1
    assert not (tmp_path / "cluster.new").exists()


def test_programs_that_cannot_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="postgres cannot be run"):
        PostgresServer(tmp_path / "data", bin_dir=tmp_path).start()


def test_root_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="Install util-linux"):
        privileges.server_user()
