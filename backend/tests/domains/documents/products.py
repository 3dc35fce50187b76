"""The product on either store, served over HTTP, where signed addresses have to work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server

from app.integrations import storage
from app.settings import Settings
from embedded.ports import LOOPBACK, free_port
from tests.core.apps import another_app
from tests.integrations.stores import s3_settings


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # werkzeug's name
        pass


@contextmanager
def serving(app: Flask, port: int) -> Iterator[None]:
    """The application on this port of 127.0.0.1."""
    server = make_server(LOOPBACK, port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def product(
    kind: str,
    settings: Settings,
    folder: Path,
    s3_url: str,
    *,
    port: int | None = None,
    **changes: Any,
) -> Iterator[Flask]:
    """An instance with a store of its own; the disk's addresses are served, too."""
    port = port or free_port()
    own: dict[str, Any] = {"storage_path": folder, "public_url": f"http://{LOOPBACK}:{port}"}
    if kind == "s3":
        own |= s3_settings(s3_url)
    told = settings.model_copy(update=own | changes)
    storage.prepare(told)
    with another_app(told) as app, serving(app, port):
        yield app
