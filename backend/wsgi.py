"""The API process: ``gunicorn wsgi:app``, ``flask shell``, ``flask db …``."""

import sys

from app.core import logs
from app.factory import create_process
from app.settings import InvalidSettings, load_settings
from app.tenancy.startup import check_process

# gunicorn's Arbiter.WORKER_BOOT_ERROR: after any other code it starts one worker after the other.
_NO_WORKER_CAN = 3

logs.configure()
try:
    settings = load_settings()
    app = create_process(settings, "api")
    check_process(app, settings)
except InvalidSettings as refusal:
    sys.stderr.write(f"{refusal}\n")
    sys.exit(_NO_WORKER_CAN)
