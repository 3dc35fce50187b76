"""The second peer under load: the usual first design, Flask with a SQLAlchemy engine per tenant.

A token, a question whether its owner is a member, ORM rows, Marshmallow, and beside each change an
entry of what was done and an event for others, in the same transaction.
"""

import json
import os
import threading
from typing import Any, Final
from uuid import UUID

import psycopg
from flask import Flask, Response, abort, request
from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required
from marshmallow import Schema, fields
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

import anchor  # noqa: F401  # makes the backend's packages importable
from app.domains.documents.models import Document

_LOGINS: Final[dict[str, str]] = json.loads(os.environ["PEER_LOGINS"])
_MEMBER: Final = text("SELECT role FROM members WHERE user_id = :user AND tenant = :tenant")
_LOG: Final = text("INSERT INTO peer_log (kind, details) VALUES (:kind, :details)")

app = Flask("engines", static_folder=None)
app.config["JWT_SECRET_KEY"] = os.environ["PEER_SECRET"]
JWTManager(app)
_main: Final = create_engine(os.environ["PEER_MAIN"], pool_size=4)
_engines: Final[dict[str, Engine]] = {}
_lock: Final = threading.Lock()


class _Item(Schema):
    id = fields.UUID()
    name = fields.String()
    content_type = fields.String()
    size = fields.Integer()
    digest = fields.String(attribute="file.digest")
    owner_id = fields.UUID()
    tags = fields.List(fields.String())
    version = fields.Integer()
    revision = fields.Integer()
    created_at = fields.AwareDateTime()
    updated_at = fields.AwareDateTime()


def _session(tenant: str) -> Session:
    with _lock:
        engine = _engines.get(tenant)
        if engine is None:
            engine = _engines[tenant] = create_engine(
                "postgresql+psycopg://",
                creator=lambda: psycopg.connect(_LOGINS[tenant]),
                pool_size=2,
                max_overflow=2,
            )
    return Session(engine, expire_on_commit=False)


def _require_member(tenant: str) -> None:
    with Session(_main) as session:
        if session.scalar(_MEMBER, {"user": get_jwt_identity(), "tenant": tenant}) is None:
            abort(404)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/tenants/<tenant>/documents")
@jwt_required()
def list_documents(tenant: str) -> dict[str, Any]:
    _require_member(tenant)
    newest = Document.created_at.desc(), Document.id.desc()
    page = select(Document).where(Document.deleted_at.is_(None)).order_by(*newest).limit(51)
    with _session(tenant) as session:
        rows = session.scalars(page).all()
        return {"items": _Item(many=True).dump(rows[:50]), "next_cursor": None}


@app.patch("/tenants/<tenant>/documents/<document_id>")
@jwt_required()
def rename(tenant: str, document_id: str) -> Response | dict[str, Any]:
    _require_member(tenant)
    name = request.get_json()["name"]
    with _session(tenant) as session, session.begin():
        found = session.get(Document, UUID(document_id), with_for_update={"of": Document})
        if found is None:
            abort(404)
        found.name = name
        session.flush()
        for kind in ("audit", "event"):
            session.execute(_LOG, {"kind": kind, "details": json.dumps({"name": name})})
        return dict(_Item().dump(found))
