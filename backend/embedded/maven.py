"""Java programs from Maven Central, pinned, with all they need, into a folder outside the tree."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from embedded.errors import EmbeddedError

_SECONDS = 600
_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tenantry</groupId>
  <artifactId>libraries</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>{group}</groupId>
      <artifactId>{artifact}</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
</project>
"""


def java_program() -> str | None:
    return shutil.which("java")


def fetch(coordinates: str, target: Path) -> None:
    """``group:artifact:version`` and its dependencies as jars in ``target``, or nothing at all."""
    program = shutil.which("mvn")
    if program is None:
        raise EmbeddedError(f"Maven is needed to get {coordinates}.")
    group, artifact, version = coordinates.split(":")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        room = Path(folder)
        pom = _POM.format(group=group, artifact=artifact, version=version)
        (room / "pom.xml").write_text(pom, encoding="utf-8")
        print(f"Getting {coordinates} (a minute, once)", flush=True)  # noqa: T201  # long work
        command = [program, "-q", "-B", "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={room / 'jars'}"]
        try:
            subprocess.run(
                command, cwd=room, check=True, timeout=_SECONDS, capture_output=True, text=True
            )
        except subprocess.CalledProcessError as error:
            said = (error.stdout + error.stderr)[-2000:]
            raise EmbeddedError(f"{' '.join(command)} failed:\n{said}") from error
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(f"{' '.join(command)} took longer than {_SECONDS} s.") from error
        (room / "jars").rename(target)
