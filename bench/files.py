"""Large files through the API, beside nginx serving the same file from the same disk.

The API's processes are watched all along: what they grow by does not depend on the file's size.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any, Final

import anchor
from app.core import ids
from app.core.db import main_session
from app.domains.identity.service import users
from app.integrations import storage
from app.settings import Settings
from embedded import real
from embedded.application import Application
from embedded.nginx import NginxServer
from embedded.ports import LOOPBACK, free_port
from embedded.process import ChildProcess
from embedded.versitygw import VersityGateway
from figures import Figure, at_least, at_most, middle, ratio
from provisioning import Client
from stage import Stage

_MIB: Final = 1024**2
_GROWTH: Final = at_most(64)
_DOWNLOAD: Final = at_least(0.5)
_EMAIL: Final = "alice@acme.example"
_PASSWORD: Final = "correct horse battery staple"
_LOOK_EVERY: Final = 0.02
_CHUNK: Final = 256 * 1024
_BLOCK: Final = os.urandom(_MIB)
_HEAD: Final = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_TAIL: Final = b"\r\n--b--\r\n"


@dataclass(frozen=True, kw_only=True)
class Passed:
    """What a large file took in one direction: seconds, and MiB that the processes grew by."""

    seconds: float
    growth: float


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    size, rounds = (256 * _MIB, 3) if quick else (1024 * _MIB, 5)
    with main_session() as session:
        users.create_user(
            session,
            stage.app.extensions["passwords"],
            email=_EMAIL,
            name="Alice",
            password=_PASSWORD,
            verified=True,
        )
    figures = []
    for name, environment in _stores(stage):
        with _served(stage, environment) as api:
            figures += _of_store(stage, api, name, size=size, rounds=rounds)
    return figures


def _stores(stage: Stage) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The folder; and a bucket, where there is a server for it on this machine."""
    yield "disk", stage.environment
    program = real.SERVICES["s3"].program()
    if program is None:
        return
    with VersityGateway(stage.folder / "s3", binary=program) as gateway:
        environment = stage.environment | {
            "STORAGE_BACKEND": "s3",
            "S3_ENDPOINT_URL": f"http://{LOOPBACK}:{gateway.port}",
            "S3_BUCKET": "bench",
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": gateway.access_key,
            "S3_SECRET_ACCESS_KEY": gateway.secret_key,
        }
        told = {name.lower(): value for name, value in environment.items()}
        storage.prepare(Settings.model_validate(told))
        yield "s3", environment


def _of_store(stage: Stage, api: "Api", name: str, *, size: int, rounds: int) -> list[Figure]:
    api.upload(_MIB)  # whatever is imported and opened once is there from now on
    document, up = api.upload(size)
    downs = [api.download(document)]
    figures = [
        _growth(f"upload, {name}", up, size),
        _growth(f"download, {name}", downs[0], size),
        Figure(name=f"upload, {name}", value=size / _MIB / up.seconds, unit="MiB/s"),
    ]
    program = real.nginx_program()
    if program is None:
        return figures
    peer = stage.folder / "peer"
    peer.mkdir(exist_ok=True)
    _write(peer / "large.bin", size)
    plain = f"server {{ listen {{address}}; root {peer}; sendfile on; }}"
    with NginxServer(stage.folder / f"nginx-{name}", binary=program, servers=plain) as nginx:
        _read(nginx.port, "/large.bin", {})  # both files have been read once
        ratios, ours, theirs = [], [], []
        for number in range(rounds):
            turns = [
                lambda: ours.append(api.download(document).seconds),
                lambda: theirs.append(_read(nginx.port, "/large.bin", {})),
            ]
            for turn in turns if number % 2 else reversed(turns):
                turn()
            ratios.append(theirs[-1] / ours[-1])
    return [
        *figures,
        ratio(
            f"download, {name} / nginx: throughput",
            ratios,
            goal=_DOWNLOAD if name == "disk" else None,
        ),
        Figure(name=f"download, {name}", value=size / _MIB / median(ours), unit="MiB/s"),
        Figure(
            name="download, nginx",
            value=size / _MIB / median(theirs),
            unit="MiB/s",
            note=middle([size / _MIB / seconds for seconds in theirs]),
        ),
    ]


def _growth(name: str, passed: Passed, size: int) -> Figure:
    return Figure(
        name=f"growth of all API processes, {name}",
        value=passed.growth,
        unit="MiB",
        goal=_GROWTH,
        note=f"resident, a file of {size // _MIB} MiB",
    )


class Api:
    """Alice in a tenant of her own, and the processes that serve her."""

    def __init__(self, client: Client, port: int, process: ChildProcess) -> None:
        slug = f"b-{ids.new_id().hex[-12:]}"
        tenant = client.post("/api/tenants", {"name": "Bench", "slug": slug})
        tokens = client.post("/api/auth/login", {"email": _EMAIL, "password": _PASSWORD})
        self._documents = f"/api/tenants/{tenant['id']}/documents"
        self._headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        self._port = port
        self._process = process

    def upload(self, size: int) -> tuple[str, Passed]:
        """The document's path, and what it took. Each file has other bytes."""
        body = [_HEAD, ids.new_id().bytes, *[_BLOCK] * (size // _MIB), _TAIL]
        headers = {
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": str(sum(map(len, body))),
        }
        with _watched(self._process) as watch:
            answer = _exchange(self._port, "POST", self._documents, self._headers | headers, body)
        return f"{self._documents}/{answer['id']}/download", watch.passed()

    def download(self, path: str) -> Passed:
        with _watched(self._process) as watch:
            _read(self._port, path, self._headers)
        return watch.passed()


class Watch:
    """Adds up the resident memory of a process and its children, again and again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._end = threading.Event()
        self._before = self._most = _resident(pid)
        self._start = time.perf_counter()
        self._seconds = 0.0

    def run(self) -> None:
        while not self._end.wait(_LOOK_EVERY):
            self._most = max(self._most, _resident(self._pid))

    def stop(self) -> None:
        self._seconds = time.perf_counter() - self._start
        self._end.set()

    def passed(self) -> Passed:
        return Passed(seconds=self._seconds, growth=(self._most - self._before) / _MIB)


@contextmanager
def _watched(process: ChildProcess) -> Iterator[Watch]:
    watch = Watch(process.pid)
    thread = threading.Thread(target=watch.run)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join()


def _resident(pid: int) -> int:
    """Linux, proc(5): of the process and its children, in bytes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in [pid, *children])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _exchange(
    port: int, method: str, path: str, headers: Mapping[str, str], body: list[bytes]
) -> dict[str, Any]:
    return Client.read_json(port, method, path, headers, iter(body))


def _read(port: int, path: str, headers: Mapping[str, str]) -> float:
    """Reads all of it and keeps nothing; the seconds that it took."""
    start = time.perf_counter()
    connection = HTTPConnection(LOOPBACK, port, timeout=120)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        if answer.status != 200:  # noqa: PLR2004  # RFC 9110: OK
            raise RuntimeError(f"GET {path} answered {answer.status}")
        buffer = memoryview(bytearray(_CHUNK))
        while answer.readinto(buffer):
            pass
    finally:
        connection.close()
    return time.perf_counter() - start


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // _MIB):
            file.write(_BLOCK)


@contextmanager
def _served(stage: Stage, environment: Mapping[str, str]) -> Iterator[Api]:
    """The API as `make run` starts it: gunicorn, two processes of four threads."""
    port = free_port()
    with ExitStack() as stack:
        api = Application(anchor.BACKEND, stage.folder, dict(environment), port).api()
        process = stack.enter_context(ChildProcess(api))
        client = Client(port)
        process.wait_until(client.answers, seconds=60)
        client.sign_in()
        yield Api(client, port, process)
