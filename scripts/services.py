"""The real servers for the full test run, from the distribution's packages or built once.

    scripts/services.py install                    # as root; apt-get what is missing
    scripts/services.py start postgres redis --env-file services.env
    scripts/services.py status
    scripts/services.py stop
    scripts/services.py run -- make test           # start, run with the variables set, stop

Without names every command means all of them. Data and state lie in a cache folder outside the
tree: --cache, else TENANTRY_CACHE, else ~/.cache/tenantry.

Exit codes: 0 done; 1 it could not be done, or status finds one unwell or none; 2 wrong arguments;
130 interrupted. run ends as its command does.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "backend"))

from embedded import real
from embedded.environment import EnvironmentFile
from embedded.errors import EmbeddedError
from embedded.keeper import Keeper
from embedded.signals import StopRequested, stop_on_signals

_POLICY = Path("/usr/sbin/policy-rc.d")
_DO_NOT_START_SERVICES = "#!/bin/sh\nexit 101\n"
_HELP = {
    "install": "get what is missing by apt-get (root), build what is in no package",
    "start": "start servers and leave them running",
    "run": "start servers, run a command beside them, stop them",
    "keep": "what start leaves behind: stays until it gets TERM",
    "stop": "stop what start left running",
    "status": "say which run, and whether they are well",
}


def install(names: Sequence[str]) -> None:
    """Debian's packages of what is missing, without their system-wide services; then what is built.

    What is built lies in the cache folder that TENANTRY_CACHE names, and needs no root.
    """
    absent = real.missing(names)
    if not absent:
        print("Nothing is missing.")
        return
    _install_packages(absent)
    for name in absent:
        if build := real.SERVICES[name].build:
            build()


def _install_packages(absent: Sequence[str]) -> None:
    packages = [package for name in absent for package in real.SERVICES[name].packages]
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise EmbeddedError(f"{real.explain_missing(absent)} It needs root and apt-get.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(_DO_NOT_START_SERVICES)
        _POLICY.chmod(0o755)
    try:
        for command in (
            ["update", "-q"],
            ["install", "-qy", "--no-install-recommends", *packages],
        ):
            subprocess.run(["apt-get", *command], env=environment, check=True)
    except subprocess.CalledProcessError as error:
        raise EmbeddedError(f"apt-get {' '.join(command)} failed.") from error
    finally:
        if ours:
            _POLICY.unlink()


def start(keeper: Keeper, names: Sequence[str], environment_file: Path) -> None:
    """Start them, and leave them running."""
    if absent := real.missing(names):
        raise EmbeddedError(real.explain_missing(absent))
    if state := keeper.state():
        raise EmbeddedError(f"Running already: {', '.join(state[0])}. Stop them first.")
    keeper.start(Path(__file__), names, environment_file)
    print(f"Running: {', '.join(names)}. Variables: {environment_file}")


def stop(keeper: Keeper) -> None:
    """Stop what start left running."""
    pid = keeper.pid()
    if pid is None:
        print("Nothing runs.")
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    keeper.wait_until_gone()
    print("Stopped.")


def status(keeper: Keeper, *, as_json: bool) -> int:
    """0 when something runs and all of it is well."""
    state = keeper.state()
    found = {} if state is None else dict(_faults(*state))
    if as_json:
        print(json.dumps({"running": list(found), "faults": {k: v for k, v in found.items() if v}}))
    elif state is None:
        print("Nothing runs.")
    else:
        for name, fault in found.items():
            where = f"well    {real.SERVICES[name].variable} in {state[1].path}"
            print(f"{name}: {fault or where}")
    return 1 if not found or any(found.values()) else 0


def _faults(names: Sequence[str], file: EnvironmentFile) -> Iterator[tuple[str, str]]:
    """What is wrong with each; empty where it is well."""
    variables = file.read()
    for name in names:
        service = real.SERVICES[name]
        try:
            service.check(variables[service.variable])
        except Exception as error:  # noqa: BLE001  # whatever the client raises, it is not well
            yield name, str(error) or type(error).__name__
        else:
            yield name, ""


def run(names: Sequence[str], cache: Path, command: Sequence[str]) -> int:
    """The command's exit code, run beside fresh servers on data of their own."""
    if not command:
        raise EmbeddedError("Name the command: scripts/services.py run -- make test")
    cache.mkdir(parents=True, exist_ok=True)
    with (
        stop_on_signals(),
        tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder,
        real.running(names, Path(folder)) as servers,
    ):
        variables = {**servers.environment, "TEST_SERVERS_ARE_TEMPORARY": "1"}
        process = subprocess.Popen(command, env={**os.environ, **variables})
        try:
            return process.wait()
        finally:
            process.terminate()
            process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=real.cache_folder())
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, purpose in _HELP.items():
        options = verbs.add_parser(verb, help=purpose)
        if verb == "status":
            options.add_argument("--json", action="store_true", help="report as one JSON document")
        if verb in {"stop", "status"}:
            continue
        names = list(real.SERVICES)
        options.add_argument("names", nargs="*", help=f"of: {', '.join(names)}; default: all")
        if verb in {"start", "keep"}:
            options.add_argument("--env-file", type=Path)
    return parser.parse_args(sys.argv[1 : _end_of_options()])


def _end_of_options() -> int:
    return sys.argv.index("--") if "--" in sys.argv else len(sys.argv)


def _names(chosen: Sequence[str]) -> Sequence[str]:
    if unknown := set(chosen) - set(real.SERVICES):
        raise EmbeddedError(
            f"Unknown: {', '.join(sorted(unknown))}. Known: {', '.join(real.SERVICES)}"
        )
    return chosen or list(real.SERVICES)


def _act(arguments: argparse.Namespace) -> int:
    keeper = Keeper(arguments.cache.absolute() / "services")
    if arguments.verb == "stop":
        stop(keeper)
    elif arguments.verb == "status":
        return status(keeper, as_json=arguments.json)
    elif arguments.verb == "install":
        install(_names(arguments.names))
    elif arguments.verb == "run":
        return run(_names(arguments.names), arguments.cache, sys.argv[_end_of_options() + 1 :])
    else:
        chosen = (arguments.env_file or keeper.folder / "services.env").absolute()
        if arguments.verb == "keep":
            keeper.keep(_names(arguments.names), chosen)
        else:
            start(keeper, _names(arguments.names), chosen)
    return 0


def main() -> int:
    """The exit code."""
    try:
        return _act(_arguments())
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    except StopRequested:
        return 130


if __name__ == "__main__":
    sys.exit(main())
