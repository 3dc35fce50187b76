"""Programs that are built from Go modules, pinned, into a folder outside the tree."""

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from embedded.errors import EmbeddedError

# The newest that one of our programs asks for. A distribution's own may be older.
_NEEDED = (1, 26)
# The Go project's toolchain, as a module: any Go fetches and verifies it like another.
_TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.26.8.linux-{machine}"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_SECONDS = 1200
_PLACES = "/usr/local/go/bin:/usr/lib/go/bin"


def go_program() -> str | None:
    """Any Go on this machine, however old."""
    return shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:{_PLACES}")


def build(package: str, target: Path) -> None:
    """``go install package@version``, whole or not at all; what it needed for that is removed."""
    with _room(package, target) as (go, room, environment):
        _run([go, "install", "-trimpath", package], environment)
        (built,) = (room / "bin").iterdir()
        built.rename(target)


def build_folder(source: Path, target: Path) -> None:
    """The same for a program of ours, by its ``build.sh``, which is given where to put it."""
    with _room(source.name, target) as (go, room, environment):
        copied = Path(shutil.copytree(source, room / "source"))
        found_first = f"{Path(go).parent}:{environment.get('PATH', os.defpath)}"
        built = room / "built"
        _run(
            ["bash", str(copied / "build.sh"), str(built)],
            {**environment, "PATH": found_first},
        )
        built.rename(target)


@contextmanager
def _room(what: str, target: Path) -> Iterator[tuple[str, Path, dict[str, str]]]:
    """A Go that is new enough, a folder for all that it makes, and the environment for both."""
    go = go_program()
    if go is None:
        raise EmbeddedError(f"Go is needed to build {what}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        room = Path(folder)
        environment = _environment(room)
        if _version(go) < _NEEDED:
            go = _newer(go, environment)
        print(f"Building {what} (a few minutes, once)", flush=True)  # noqa: T201  # long work
        yield go, room, environment


def _environment(room: Path) -> dict[str, str]:
    ours = {
        "GOBIN": str(room / "bin"),
        "GOCACHE": str(room / "objects"),
        "GOMODCACHE": str(room / "modules"),
        "GOPATH": str(room / "path"),
        "GOFLAGS": "-modcacherw",  # or a module's folder could not be removed again
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    return {name: value for name, value in os.environ.items() if name != "GOROOT"} | ours


def _version(go: str) -> tuple[int, ...]:
    found = re.search(r"go(\d+)\.(\d+)", _run([go, "version"], os.environ))
    if found is None:
        raise EmbeddedError(f"{go} version says nothing that can be read.")
    return int(found[1]), int(found[2])


def _newer(go: str, environment: Mapping[str, str]) -> str:
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise EmbeddedError(f"Go {'.'.join(map(str, _NEEDED))} or newer is needed.")
    module = _TOOLCHAIN.format(machine=machine)
    folder = Path(json.loads(_run([go, "mod", "download", "-json", module], environment))["Dir"])
    for program in (*(folder / "bin").iterdir(), *(folder / "pkg" / "tool").glob("*/*")):
        program.chmod(0o755)  # a module's files are never executable
    return str(folder / "bin" / "go")


def _run(command: list[str], environment: Mapping[str, str]) -> str:
    try:
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        raise EmbeddedError(f"{' '.join(command)} failed:\n{error.stderr[-2000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{' '.join(command)} took longer than {_SECONDS} s.") from error
