"""The API process: ``gunicorn wsgi:app``, ``flask shell``, ``flask db …``."""

from app.core import logs
from app.factory import create_app
from app.settings import load_settings

logs.configure()
app = create_app(load_settings())
