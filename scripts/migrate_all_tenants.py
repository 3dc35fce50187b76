"""Bring every tenant's database to the newest revision; ``flask tenants migrate`` is the same.

See --help for waves, rehearsals, resuming and the exit codes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from flask.cli import ScriptInfo

from app.domains.fleet import cli
from app.factory import create_app
from app.settings import load_settings


def main() -> None:
    # Settings are read once they are needed: --help asks for none.
    application = ScriptInfo(create_app=lambda: create_app(load_settings()))
    cli.migrate(obj=application)


if __name__ == "__main__":
    main()
