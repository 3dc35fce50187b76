"""Images under the names of those in docker-compose.yml, made of Debian's packages and of modules.

They test our wiring and our Dockerfile, and nothing of the images whose names they have.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from embedded import real
from embedded.engine import Docker, debian_root
from embedded.errors import EmbeddedError

_BASE: Final = "debian:trixie-slim"
# Image → its Dockerfile in docker/stand-ins.
_DOCKERFILES: Final = {
    "apache/kafka": "kafka",
    "hashicorp/vault": "vault",
    "nginx": "nginx",
    "postgres": "postgres",
    "python": "python",
    "valkey/valkey": "valkey",
    "versity/versitygw": "versitygw",
}
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_LABEL: Final = "tenantry.stand-in"


def build(docker: Docker, images: list[str], folder: Path) -> None:
    """All of them that the engine has not yet, in the state of the Dockerfiles of today."""
    unknown = {name for name in images if _name(name) not in _DOCKERFILES}
    if unknown:
        raise EmbeddedError(f"docker/stand-ins has none for {', '.join(sorted(unknown))}.")
    if not docker.run("images", "-q", _BASE).strip():
        _import_base(docker)
    with _context(folder, {_name(image) for image in images}) as context:
        for image in images:
            dockerfile = folder / f"{_DOCKERFILES[_name(image)]}.Dockerfile"
            docker.run(
                *("build", "-q", "-t", image, "--label", f"{_LABEL}=true"),
                *("-f", str(dockerfile), str(context)),
            )


def _import_base(docker: Docker) -> None:
    print("Making a Debian for the stand-ins (a minute, once)", flush=True)  # noqa: T201  # long work
    with tempfile.TemporaryDirectory(prefix="debian-") as room:
        tar = Path(room) / "root.tar"
        debian_root(tar)
        docker.run("import", str(tar), _BASE)


@contextmanager
def _context(folder: Path, names: set[str]) -> Iterator[Path]:
    """What the Dockerfiles copy: scripts, this machine's authorities, and what was built."""
    wanted: Mapping[str, tuple[str, str]] = {
        "apache/kafka": ("kafka", "jars"),
        "versity/versitygw": ("s3", "versitygw"),
        "hashicorp/vault": ("vault", "vault"),
    }
    with tempfile.TemporaryDirectory(prefix="context-") as room:
        context = Path(room)
        for script in folder.glob("*.sh"):
            shutil.copy2(script, context)
        shutil.copy2(_AUTHORITIES, context / "ca-certificates.crt")
        for name in names & wanted.keys():
            service, target = wanted[name]
            _bring(_built(service), context / target)
        yield context


def _built(service: str) -> Path:
    known: Any = real.SERVICES.get(service)
    if known is None:
        raise EmbeddedError(f"{service} is none of scripts/services.py.")
    if known.build is not None:
        known.build()
    program: Path | None = known.program()
    if program is None:
        raise EmbeddedError(real.explain_missing([service]))
    return program


def _bring(source: Path, target: Path) -> None:
    """By links where that is possible: the context is read once."""
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link)
    else:
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _name(image: str) -> str:
    return image.partition(":")[0]
