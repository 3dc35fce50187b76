"""The scripts that containers start with: secrets, certificate, waiting."""

import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.fernet import Fernet
from flask import Flask

from app.settings import Settings
from app.settings.rules import refuse_weak
from embedded.ports import free_port
from tests.core.live import environment_of
from tests.paths import PROJECT


def run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / script), *arguments],
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def read(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def test_secrets_are_made_once(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ended = run("generate_secrets.py", "--profile", "full", "--env-file", str(file), "--json")
    assert ended.returncode == 0
    report, made = json.loads(ended.stdout), read(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(made[name] in ended.stdout for name in report["made"]), "names, never values"
    for name in report["made"]:
        if name not in {"S3_ACCESS_KEY_ID", "KAFKA_CLUSTER_ID"}:
            refuse_weak(made[name])
    Fernet(made["SECRETS_KEYS"])
    assert len(set(map(made.get, report["made"]))) == len(report["made"])
    assert all(made.values()), "nothing is left empty"
    assert json.loads(run("generate_secrets.py", "--env-file", str(file), "--json").stdout) == {
        "file": str(file),
        "written": False,
        "made": [],
        "kept": report["made"],
    }
    assert read(file) == made


def test_what_is_yours_stays_and_what_is_new_comes(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("COMPOSE_PROFILES=minimal\nHTTPS_PORT=8443\nREDIS_PASSWORD=\nMINE=1\n")
    assert run("generate_secrets.py", "--env-file", str(file)).returncode == 0
    first = read(file)
    assert (first["HTTPS_PORT"], first["MINE"]) == ("8443", "1")
    assert first["REDIS_PASSWORD"]
    assert first["SECRET_KEY"]
    assert "KAFKA_CLUSTER_ID" not in first
    assert run("generate_secrets.py", "--env-file", str(file), "--force").returncode == 0
    second = read(file)
    assert second["HTTPS_PORT"] == "8443"
    assert second["REDIS_PASSWORD"] != first["REDIS_PASSWORD"]


def test_secrets_need_no_package(tmp_path: Path) -> None:
    """The first command on a machine that has Python and Docker."""
    script = str(PROJECT / "scripts" / "generate_secrets.py")
    command = [sys.executable, "-I", "-S", script, "--env-file", str(tmp_path / ".env")]
    assert subprocess.run(command, check=False, timeout=60, capture_output=True).returncode == 0


def test_a_certificate_is_made_where_there_is_none(tmp_path: Path) -> None:
    arguments = ("localhost", "*.localhost", "127.0.0.1", "--folder", str(tmp_path))
    assert json.loads(run("generate_certificate.py", *arguments, "--json").stdout)["made"]
    made = (tmp_path / "tls.crt").read_bytes()
    assert stat.S_IMODE((tmp_path / "tls.key").stat().st_mode) == 0o600
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    names = x509.load_pem_x509_certificate(made).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["localhost", "*.localhost"]
    assert "there already" in run("generate_certificate.py", *arguments).stdout
    assert (tmp_path / "tls.crt").read_bytes() == made
    assert run("generate_certificate.py", *arguments, "--force").returncode == 0
    assert (tmp_path / "tls.crt").read_bytes() != made
    missing = run("generate_certificate.py", "localhost", "--folder", str(tmp_path / "none"))
    assert missing.returncode == 1


def test_it_waits_for_servers(app: Flask, settings: Settings) -> None:
    told = environment_of(settings)
    ended = run("wait_for.py", "database", "schema", "redis", "--json", **told)
    assert json.loads(ended.stdout) == {"answered": ["database", "schema", "redis"], "fault": None}


@pytest.mark.parametrize(
    ("part", "variables"),
    [
        ("redis", {"REDIS_URL": "redis://127.0.0.1:{port}/0"}),
        ("database", {"DATABASE_URL": "postgresql://nobody@127.0.0.1:{port}/none"}),
        ("kafka", {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:{port}"}),
        ("store", {"S3_ENDPOINT_URL": "http://127.0.0.1:{port}"}),
    ],
)
def test_it_does_not_wait_for_ever(part: str, variables: dict[str, str]) -> None:
    port = str(free_port())
    told = {name: value.format(port=port) for name, value in variables.items()}
    ended = run("wait_for.py", part, "--timeout", "0.1", **told)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{part} does not answer.")
    assert run("wait_for.py", part).returncode == (0 if part == "store" else 1)


def test_an_unmigrated_database_is_waited_for(settings: Settings) -> None:
    """The database `postgres` has no table at all."""
    url = settings.provisioner_url.get_secret_value()
    ended = run("wait_for.py", "schema", "--timeout", "0.1", DATABASE_URL=url)
    assert ended.returncode == 1
    assert "init_db.py has not made" in ended.stderr


ENGINE = """#!/bin/sh
case "$*" in
"compose version --short") echo "$COMPOSE" ;;
"version --format"*)
    [ -n "$ENGINE" ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; } ;;
"compose ps --quiet") ;;
*) echo "$*" >>"$ASKED" ;;
esac
"""


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({}, "There is no Docker here"),
        ({"COMPOSE": ""}, "Docker has no Compose here"),
        ({"COMPOSE": "2.17.3"}, "is too old: 2.24"),
        ({"COMPOSE": "2.26.1"}, "Is it running, may you use it?\nCannot connect"),
        ({"COMPOSE": "v2.26.1-4", "ENGINE": "27", "HTTPS_PORT": "free"}, ""),
        ({"COMPOSE": "5.1.0", "ENGINE": "27", "HTTPS_PORT": "taken"}, "Somebody has the ports of"),
    ],
)
def test_what_stands_in_the_way_is_said_before_anything_is_built(
    tmp_path: Path, told: dict[str, str], complaint: str
) -> None:
    """`make up`, with a stand-in for Docker that notes what it is asked."""
    tree, programs, asked = tmp_path / "tree", tmp_path / "bin", tmp_path / "asked"
    (tree / "scripts").mkdir(parents=True)
    programs.mkdir()
    for name in ("up.py", "generate_secrets.py"):
        shutil.copy2(PROJECT / "scripts" / name, tree / "scripts" / name)
    shutil.copy2(PROJECT / ".env.docker.minimal", tree)
    if told:
        (programs / "docker").write_text(ENGINE)
        (programs / "docker").chmod(0o755)
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)):
        port = taken if told.get("HTTPS_PORT") == "taken" else free_port()
        others = ("POSTGRES_PORT", "REDIS_PORT", "S3_PORT", "FLOWER_PORT")
        ports = {"HTTPS_PORT": port} | {name: free_port() for name in others}
        (tree / ".env").write_text("".join(f"{name}={at}\n" for name, at in ports.items()))
        ended = subprocess.run(
            [sys.executable, "-I", "-S", str(tree / "scripts" / "up.py")],
            env={"PATH": f"{programs}:/usr/bin:/bin" if told else str(programs)}
            | {"ASKED": str(asked), "ENGINE": "", **told},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert complaint in ended.stderr
    assert (ended.returncode, asked.exists()) == ((1, False) if complaint else (0, True))
    if not complaint:
        assert asked.read_text().split() == ["compose", "up", "--build", "--detach", "--wait"]
        assert "https://localhost/api/docs" in ended.stdout
