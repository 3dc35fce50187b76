"""The first peer under load: Flask, pools of psycopg connections, orjson; it asks no questions.

It knows the logins of all tenants, and neither who asks nor whether that is allowed. A change is
one statement, and nobody is told of it.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from queue import LifoQueue
from typing import Any, Final

import orjson
import psycopg
from flask import Flask, Response, request

from bare import NAMES, PAGE

_THREADS: Final = 4
_RENAME: Final = """
    UPDATE documents SET name = %(name)s, folded_name = lower(%(name)s), revision = revision + 1,
           updated_at = now()
    WHERE id = %(id)s RETURNING id, name, revision
"""
_LOGINS: Final[dict[str, str]] = json.loads(os.environ["PEER_LOGINS"])

app = Flask("bare", static_folder=None)
# A connection is opened by who needs it first.
_pools: Final[dict[str, LifoQueue[psycopg.Connection[Any] | None]]] = {}
for _tenant in _LOGINS:
    _pools[_tenant] = LifoQueue()
    for _ in range(_THREADS):
        _pools[_tenant].put(None)


@contextmanager
def _connected(tenant: str) -> Iterator[psycopg.Connection[Any]]:
    pool = _pools[tenant]
    connection = pool.get() or psycopg.connect(_LOGINS[tenant], autocommit=True)
    try:
        yield connection
    finally:
        pool.put(connection)


@app.get("/health")
def health() -> Response:
    return _json({"status": "ok"})


@app.get("/tenants/<tenant>/documents")
def list_documents(tenant: str) -> Response:
    with _connected(tenant) as connection:
        rows = connection.execute(PAGE).fetchall()
    items = [dict(zip(NAMES, row, strict=True)) for row in rows[:50]]
    return _json({"items": items, "next_cursor": None})


@app.patch("/tenants/<tenant>/documents/<document_id>")
def rename(tenant: str, document_id: str) -> Response:
    given = {"id": document_id, "name": orjson.loads(request.data)["name"]}
    with _connected(tenant) as connection:
        row = connection.execute(_RENAME, given).fetchone()
    return _json(row)


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), mimetype="application/json")
