"""Scripts as somebody runs them, without the seconds that another Python takes to begin."""

import io
import runpy
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout

import pytest
from flask import Flask, appcontext_pushed

from tests.core.apps import close
from tests.paths import PROJECT


def run_script(
    name: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Its exit code, what it said and what it complained of; its connections are closed."""
    path = str(PROJECT / "scripts" / name)
    out, err = io.StringIO(), io.StringIO()
    apps: list[Flask] = []

    def remember(app: Flask, **_: object) -> None:
        if app not in apps:
            apps.append(app)

    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        appcontext_pushed.connected_to(remember),
    ):
        patch.setattr(sys, "argv", [path, *map(str, arguments)])
        patch.setattr(sys, "path", sys.path.copy())
        for variable, value in (environment or {}).items():
            patch.setenv(variable, value)
        code = _exit_code(path)
    for app in apps:
        close(app)
    return code, out.getvalue(), err.getvalue()


def _exit_code(path: str) -> int:
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(ended.code)
            return 1
        return ended.code or 0
    return 0
