"""Bring docker-compose.yml up, take the tour against it, and remove all of it again.

With a Docker engine at hand, it is used, with the images that the file names. Without one, as root
on Debian, an engine of our own is started, and images are built under those names from Debian's
packages (docker/stand-ins): that tests this project's wiring, Dockerfile and scripts, and says
nothing of the images themselves. Ports and project name are chosen so that nothing else is
disturbed.

Exit codes: 0 all is as it should be; 1 something is not, and it says what; 2 wrong arguments.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "backend"), str(ROOT / "scripts")]

import requests

from embedded import stand_ins
from embedded.engine import Docker, Engine
from embedded.errors import EmbeddedError
from embedded.ports import free_port
from embedded.real import cache_folder
from embedded.signals import StopRequested, stop_on_signals
from tour import Person, TourFailed, take_tour

PORTS = ("HTTPS", "POSTGRES", "REDIS", "S3", "KAFKA", "FLOWER", "VAULT", "API")
_SECONDS = 30
_SHORTEST = 12
_UP_SECONDS = 420
_CHANGE = ('return {"status": "ok"}', 'return {"status": "changed"}')
_OUR_IMAGES = ("tenantry:local", "tenantry-tools:local")
_PASSWORDS = ("PASSWORD", "KEY", "KEYS", "TOKEN")
# Servers, which have to know their own, and what brings secrets to where they belong.
_TOLD = ("postgres", "redis", "s3", "bootstrap", "vault-init")


class Wrong(Exception):
    """Something is not as it should be; the message says what."""


class Stack:
    """One project of docker compose, on ports of its own."""

    def __init__(
        self, docker: Docker, profile: str, room: Path, *, folder: Path = ROOT, also: str = ""
    ) -> None:
        self.docker = docker
        self.folder = folder
        self.files = ["docker-compose.yml", *also.split()]
        self.name = f"tenantry-verify-{secrets.token_hex(3)}"
        self.profile = profile
        self.env_file = room / f"{profile}.env"
        self.ports = {name: free_port() for name in PORTS}
        self.url = f"https://localhost:{self.ports['HTTPS']}"
        self._write_settings()
        self.settings = read_env(self.env_file)

    def _write_settings(self) -> None:
        generate = [sys.executable, str(ROOT / "scripts" / "generate_secrets.py")]
        subprocess.run(
            [*generate, "--profile", self.profile, "--env-file", str(self.env_file)],
            check=True,
            capture_output=True,
        )
        net = f"172.30.{secrets.randbelow(200)}"
        own = {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        own |= {"PUBLIC_URL": self.url, "NGINX_ADDRESS": f"{net}.2"}
        own |= {"EDGE_SUBNET": f"{net}.0/24", "EDGE_DYNAMIC": f"{net}.128/25"}
        lines = self.env_file.read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0] not in own]
        self.env_file.write_text("\n".join([*kept, *(f"{k}={v}" for k, v in own.items()), ""]))

    def compose(self, *arguments: str, seconds: float = 300) -> str:
        """`docker compose …` of this project."""
        return self.docker.run(
            *("compose", "-p", self.name, "--env-file", str(self.env_file)),
            *(part for file in self.files for part in ("-f", file)),
            *arguments,
            seconds=seconds,
            folder=self.folder,
        )

    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` says of each."""
        ids = self.compose("ps", "-aq").split()
        found: list[dict[str, Any]] = json.loads(self.docker.run("inspect", *ids))
        return found


class Report:
    """Steps with their seconds, told as they happen or as one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.steps: list[dict[str, object]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds = round(time.monotonic() - began, 1)
        self.steps.append({"step": what, "seconds": seconds})
        if not self._as_json:
            print(f"  ✓ {what}  ({seconds} s)", flush=True)


def read_env(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, equals, value in lines if equals and not name.startswith("#")}


def verify(stack: Stack, report: Report, checks: "Checks", *, keep: bool) -> None:
    """All steps; whatever happens, the project is removed, unless it shall be kept."""
    what = "development" if "docker-compose.dev.yml" in stack.files else stack.profile
    try:
        with report.step(f"{what}: docker compose config"):
            stack.compose("config", "--quiet")
        with report.step(f"{what}: images are built"):
            stack.compose("build", seconds=1200)
        with report.step(f"{what}: everything is up and healthy"):
            bring_up(stack)
        for check, look in checks.items():
            with report.step(f"{what}: {check}"):
                look(stack)
    finally:
        if not keep:
            with report.step(f"{what}: everything is removed"):
                stack.compose("down", "--volumes", "--timeout", "30")
                nothing_is_left(stack)


def bring_up(stack: Stack) -> None:
    try:
        stack.compose("up", "--detach", "--wait", seconds=_UP_SECONDS)
    except EmbeddedError as error:
        logs = stack.compose("logs", "--tail", "15", "--no-color")
        raise Wrong(f"{error}\n{logs[-6000:]}") from error


def containers_are_confined(stack: Stack) -> None:
    for each in stack.containers():
        name, host = each["Config"]["Labels"]["com.docker.compose.service"], each["HostConfig"]
        faults = {
            "privileged": host["Privileged"],
            "writes into its image": not host["ReadonlyRootfs"],
            "keeps capabilities": host["CapDrop"] != ["ALL"] or host["CapAdd"],
            "has no limit of memory": not host["Memory"],
        }
        if found := [fault for fault, there in faults.items() if there]:
            raise Wrong(f"{name}: {', '.join(found)}")
        for bindings in (host["PortBindings"] or {}).values():
            for binding in bindings:
                if name != "nginx" and binding["HostIp"] != "127.0.0.1":
                    raise Wrong(f"{name} is published on {binding['HostIp'] or 'every address'}")


def tour_is_green(stack: Stack) -> None:
    said: list[str] = []
    password = stack.settings["DEMO_PASSWORD"]
    try:
        take_tour(
            stack.url,
            owner=Person("alice@acme.example", password),
            stranger=Person("mallory@globex.example", password),
            file=ROOT / "README.md",
            say=said.append,
            ca=certificate(stack),
        )
    except TourFailed as error:
        raise Wrong("\n".join([*said[-3:], str(error)])) from error


def certificate(stack: Stack) -> Path:
    target = stack.env_file.with_suffix(".crt")
    if not target.exists():
        stack.compose("cp", "nginx:/certificates/tls.crt", str(target))
    return target


def ask(stack: Stack, url: str, *, method: str = "GET", **options: Any) -> requests.Response:
    with requests.Session() as http:
        http.trust_env = False
        ca = str(certificate(stack))
        return http.request(method, url, verify=ca, timeout=_SECONDS, **options)


def expect(status: HTTPStatus, answer: requests.Response, what: str) -> None:
    if answer.status_code != status:
        raise Wrong(f"{what}: expected {status}, got {answer.status_code}: {answer.text[:300]}")


def inner_pages_are_shut(stack: Stack) -> None:
    expect(HTTPStatus.NOT_FOUND, ask(stack, f"{stack.url}/metrics"), "/metrics from outside")
    flower = f"http://127.0.0.1:{stack.ports['FLOWER']}/"
    own = (stack.settings["FLOWER_USER"], stack.settings["FLOWER_PASSWORD"])
    expect(HTTPStatus.UNAUTHORIZED, ask(stack, flower), "Flower without a password")
    expect(HTTPStatus.OK, ask(stack, flower, auth=own), "Flower with its password")


def proxy_stands_in(stack: Stack) -> None:
    """While no API answers, it says so as the API would; and it finds one that came back."""
    large = {"email": "a" * 2_000_000}
    login = f"{stack.url}/api/auth/login"
    answer = ask(stack, login, method="POST", json=large)
    expect(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, answer, "a JSON body of 2 MB")
    stack.compose("stop", "api")
    answer = ask(stack, f"{stack.url}/api/tenants")
    expect(HTTPStatus.SERVICE_UNAVAILABLE, answer, "the proxy without an API")
    if "Retry-After" not in answer.headers or answer.json()["code"] != "not_ready":
        raise Wrong(f"the proxy without an API: {answer.headers} {answer.text}")
    bring_up(stack)
    expect(HTTPStatus.OK, ask(stack, f"{stack.url}/health"), "the proxy with its API again")


def events_arrive(stack: Stack) -> None:
    """By Kafka or without it, what happened in the tour's tenant is handled, none is left over."""
    token = stack.settings["METRICS_TOKEN"]
    read = (
        "import urllib.request as u; r = u.Request('http://127.0.0.1:4999/metrics',"
        f" headers={{'Authorization': 'Bearer {token}'}}); print(u.urlopen(r).read().decode())"
    )
    until = time.monotonic() + _SECONDS
    while True:
        text = stack.compose("exec", "-T", "api", "python", "-c", read)
        figures = dict(re.findall(r"^(tenantry_\w+) (\S+)$", text, re.MULTILINE))
        waiting = {
            name: figures.get(name)
            for name in ("tenantry_events_unsent", "tenantry_events_dead", "tenantry_jobs_failed")
        }
        if all(value is not None and float(value) == 0 for value in waiting.values()):
            return
        if time.monotonic() > until:
            raise Wrong(f"figures: {waiting}")
        time.sleep(1)


def secrets_lie_in_vault(stack: Stack) -> None:
    """In no variable of what works with them; and a Vault that starts again is opened again."""
    if stack.profile != "full":
        return
    secret = {stack.settings[name] for name in secret_names(stack)}
    for each in stack.containers():
        name = each["Config"]["Labels"]["com.docker.compose.service"]
        told = [line for line in each["Config"]["Env"] if any(value in line for value in secret)]
        if told and name not in _TOLD:
            names = ", ".join(line.partition("=")[0] for line in told)
            raise Wrong(f"{name} is told secrets as variables: {names}")
    stack.compose("restart", "vault")
    until = time.monotonic() + _SECONDS
    health = f"http://127.0.0.1:{stack.ports['VAULT']}/v1/sys/health"
    while True:
        with suppress(requests.RequestException):
            if ask(stack, health).status_code == HTTPStatus.OK:
                return
        if time.monotonic() > until:
            raise Wrong("Vault was started anew, and stays sealed")
        time.sleep(0.5)


def starting_again_changes_nothing(stack: Stack) -> None:
    before = {each["Id"] for each in stack.containers()}
    bring_up(stack)
    if after := {each["Id"] for each in stack.containers()} - before:
        raise Wrong(f"{len(after)} containers were made anew by a second `up`")


def no_secret_is_logged(stack: Stack) -> None:
    """But the people's password, which init_db.py prints once."""
    logs = stack.compose("logs", "--no-color")
    for name in secret_names(stack):
        if stack.settings[name] in logs:
            raise Wrong(f"{name} stands in the logs")


def secret_names(stack: Stack) -> Iterator[str]:
    for name, value in stack.settings.items():
        secret = name.rpartition("_")[2] in _PASSWORDS and name != "DEMO_PASSWORD"
        if secret and len(value) > _SHORTEST:
            yield name


def nobody_was_killed(stack: Stack) -> None:
    """On TERM each ends by itself, in time, and not as a failure."""
    began = time.monotonic()
    stack.compose("stop", "--timeout", "60", seconds=400)
    for each in stack.containers():
        code = each["State"]["ExitCode"]
        if each["State"]["OOMKilled"] or code not in {0, 143}:
            name = each["Config"]["Labels"]["com.docker.compose.service"]
            raise Wrong(f"{name} ended with {code} after {time.monotonic() - began:.0f} s")


def nothing_is_left(stack: Stack) -> None:
    label = f"label=com.docker.compose.project={stack.name}"
    for kind in (["ps", "-aq"], ["volume", "ls", "-q"], ["network", "ls", "-q"]):
        if left := stack.docker.run(*kind, "--filter", label).split():
            raise Wrong(f"left over: docker {' '.join(kind)}: {left}")


def changed_code_is_loaded(stack: Stack) -> None:
    """A line of the mounted code is changed, and the API answers by it."""
    health = f"http://127.0.0.1:{stack.ports['API']}/health"
    expect(HTTPStatus.OK, ask(stack, health), "the API without nginx")
    file = stack.folder / "backend" / "app" / "core" / "health.py"
    before = file.read_text()
    file.write_text(before.replace(*_CHANGE))
    if file.read_text() == before:
        raise Wrong(f"{file.name} has no {_CHANGE[0]} to change")
    until = time.monotonic() + _SECONDS
    while True:
        with suppress(requests.RequestException):
            if ask(stack, health).json() == {"status": "changed"}:
                return
        if time.monotonic() > until:
            raise Wrong("the API does not answer by the changed code")
        time.sleep(0.5)


def copied_tree(room: Path) -> Path:
    """What the override mounts, so that no file of this folder is changed."""
    target = room / "tree"
    for name in ("backend", "scripts", "docker"):
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "tests")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    for name in ("docker-compose.yml", "docker-compose.dev.yml", ".dockerignore"):
        shutil.copy2(ROOT / name, target / name)
    return target


Checks = dict[str, Callable[[Stack], None]]
IN_DEVELOPMENT: Checks = {"changed code is loaded": changed_code_is_loaded}
CHECKS: Checks = {
    "every container is confined": containers_are_confined,
    "the tour": tour_is_green,
    "inner pages are shut": inner_pages_are_shut,
    "the proxy stands in for the API": proxy_stands_in,
    "events arrive": events_arrive,
    "secrets lie in Vault": secrets_lie_in_vault,
    "a second `up` changes nothing": starting_again_changes_nothing,
    "no secret in the logs": no_secret_is_logged,
    "all end by themselves": nobody_was_killed,
}


def base_images(docker: Docker, profiles: Sequence[str], room: Path) -> list[str]:
    """What the file names and we do not build, and what our Dockerfile begins with."""
    named = set()
    for profile in profiles:
        stack = Stack(docker, profile, room)
        model = json.loads(stack.compose("config", "--format", "json"))
        named |= {service["image"] for service in model["services"].values()}
        stack.env_file.unlink()
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text().splitlines()
    python = next(line for line in dockerfile if line.startswith("ARG PYTHON_IMAGE="))
    return [python.partition("=")[2], *sorted(named - set(_OUR_IMAGES))]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=["minimal", "full", "both"], default="both")
    parser.add_argument("--own-engine", action="store_true", help="even where there is another")
    parser.add_argument("--keep", action="store_true", help="leave it running, to look at")
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def run(arguments: argparse.Namespace, report: Report) -> None:
    profiles = ["minimal", "full"] if arguments.profile == "both" else [arguments.profile]
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="verify-") as name:
        docker = Docker(os.environ)
        if arguments.own_engine or not docker.answers:
            with report.step("a Docker engine of our own"):
                docker = stack.enter_context(Engine(cache_folder() / "docker")).docker
            with report.step("stand-ins for the images"):
                images = base_images(docker, profiles, Path(name))
                stand_ins.build(docker, images, ROOT / "docker" / "stand-ins")
        for profile in profiles:
            verify(Stack(docker, profile, Path(name)), report, CHECKS, keep=arguments.keep)
        if not arguments.keep:
            tree = copied_tree(Path(name))
            mounted = Stack(
                docker, "minimal", Path(name), folder=tree, also="docker-compose.dev.yml"
            )
            verify(mounted, report, IN_DEVELOPMENT, keep=False)


def main() -> int:
    """The exit code."""
    arguments = parse()
    if arguments.keep and arguments.own_engine:
        print("An engine of our own ends with us: it cannot keep anything.", file=sys.stderr)
        return 2
    report = Report(as_json=arguments.json)
    fault = None
    try:
        with stop_on_signals():
            run(arguments, report)
    except (Wrong, EmbeddedError, requests.RequestException) as error:
        fault = str(error)
    except StopRequested:
        fault = "interrupted"
    if arguments.json:
        print(json.dumps({"steps": report.steps, "fault": fault}))
    elif fault is not None:
        print(f"\n✗ {fault}", file=sys.stderr)
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main())
