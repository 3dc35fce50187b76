"""The peer of the list of documents: Flask, a pool of psycopg connections, orjson; no questions.

gunicorn runs it as the product's API runs. It knows one tenant's login, and asks nobody who asks.
"""

import os
from queue import LifoQueue
from typing import Any, Final

import orjson
import psycopg
from flask import Flask, Response

_THREADS: Final = 4
_NAMES: Final = (
    "id",
    "name",
    "content_type",
    "size",
    "digest",
    "owner_id",
    "tags",
    "version",
    "revision",
    "created_at",
    "updated_at",
)
_PAGE: Final = """
    SELECT id, name, content_type, size,
           (SELECT digest FROM files WHERE files.id = documents.file_id),
           owner_id, tags, version, revision, created_at, updated_at
    FROM documents WHERE deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 51
"""

app = Flask("bare", static_folder=None)
_pool: LifoQueue[psycopg.Connection[Any] | None] = LifoQueue()
for _ in range(_THREADS):
    _pool.put(None)  # a connection is opened by who needs it first, in the process that uses it


@app.get("/health")
def health() -> Response:
    return _json({"status": "ok"})


@app.get("/documents")
def list_documents() -> Response:
    connection = _pool.get()
    if connection is None:
        connection = psycopg.connect(os.environ["BARE_CONNINFO"], autocommit=True)
    try:
        rows = connection.execute(_PAGE).fetchall()
    finally:
        _pool.put(connection)
    items = [dict(zip(_NAMES, row, strict=True)) for row in rows[:50]]
    return _json({"items": items, "next_cursor": None})


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), mimetype="application/json")
