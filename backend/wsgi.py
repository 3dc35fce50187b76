"""The API process: ``gunicorn wsgi:app``, ``flask shell``, ``flask db …``."""

from app.core import logs
from app.factory import create_app
from app.settings import load_settings
from app.tenancy.startup import check_servers

logs.configure()
settings = load_settings()
app = create_app(settings)
check_servers(app.extensions["tenancy"].server, settings)
