"""Documents and their properties: list, upload, read, change, delete."""

from functools import partial
from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, current_app

from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.core.http import OpenPlane, endpoint
from app.core.idempotency import Once
from app.core.multipart import IncomingFile
from app.core.pages import Page, current_cursors
from app.domains.documents import schemas
from app.domains.documents.models import Document
from app.domains.documents.service import bulk, documents, listing, quota, receiving, trash
from app.domains.documents.service.files import OpenSession
from app.domains.documents.service.quota import Limits, Usage
from app.integrations.storage import current_storage
from app.tenancy.sessions import TenantRows, TenantSession

blueprint: Final = Blueprint("documents", __name__)

DOCUMENTS: Final = "/api/tenants/<tenant:tenant_id>/documents"
ONE: Final = DOCUMENTS + "/<uuid:document_id>"


@blueprint.get(DOCUMENTS)
@endpoint(
    allow="documents:read",
    transaction="tenant_rows",
    query=schemas.DocumentQuery,
    returns=schemas.DocumentPage,
    errors=(400, 401, 403, 404, 422, 503),
)
def list_documents(session: TenantRows, query: dict[str, Any]) -> Page[dict[str, Any]]:
    """The tenant's documents, newest first unless another order is asked for."""
    return listing.list_documents(session, cursors=current_cursors(), **query)


@blueprint.post(DOCUMENTS)
@endpoint(
    allow="documents:create",
    transaction=None,
    takes_file=True,
    returns=schemas.Document,
    versioned=True,
    status=201,
    errors=(400, 401, 403, 404, 409, 413, 415, 422, 503, 507),
)
def upload_document(
    caller: Caller, open_session: OpenPlane, file: IncomingFile, once: Once
) -> Document:
    """Upload a file as multipart/form-data, in the part named ``file``."""
    return receiving.upload_document(
        tenant_opener(open_session),
        current_storage(),
        caller=caller,
        name=file.name,
        content_type=file.content_type,
        chunks=file,
        expected_bytes=file.expected_bytes,
        limits=general_limits(),
        done=once.remember,
    )


@blueprint.get(ONE)
@endpoint(
    allow="documents:read",
    transaction="tenant_reads",
    returns=schemas.Document,
    versioned=True,
    errors=(401, 403, 404, 503),
)
def get_document(session: TenantSession, document_id: UUID) -> Document:
    """One document's properties; If-None-Match is honoured."""
    return documents.get_document(session, document_id=document_id)


@blueprint.patch(ONE)
@endpoint(
    allow="documents:update",
    transaction="tenant",
    body=schemas.ChangeDocument,
    returns=schemas.Document,
    versioned=True,
    errors=(400, 401, 403, 404, 412, 413, 415, 422, 503),
)
def update_document(
    session: TenantSession,
    caller: Caller,
    document_id: UUID,
    body: dict[str, Any],
    if_match: IfMatch,
) -> Document:
    """Change a document's name or tags."""
    return documents.update_document(
        session, caller=caller, document_id=document_id, changes=body, if_match=if_match
    )


@blueprint.delete(ONE)
@endpoint(
    allow="documents:delete", transaction="tenant", status=204, errors=(401, 403, 404, 412, 503)
)
def delete_document(
    session: TenantSession, caller: Caller, document_id: UUID, if_match: IfMatch
) -> None:
    """Move a document to the trash."""
    trash.delete_document(
        session,
        caller=caller,
        document_id=document_id,
        if_match=if_match,
        kept_days=current_app.config["TRASH_DAYS"],
    )


@blueprint.post(DOCUMENTS + "/bulk")
@endpoint(
    allow="documents:update",
    transaction="tenant",
    body=schemas.BulkAction,
    returns=schemas.BulkResult,
    errors=(400, 401, 403, 404, 413, 415, 422, 503),
)
def act_on_documents(
    session: TenantSession, caller: Caller, body: dict[str, Any]
) -> dict[str, object]:
    """Delete, restore, purge, tag or untag up to 100 documents; each has a result of its own."""
    outcomes = bulk.act_on_all(
        session,
        caller=caller,
        action=body["action"],
        document_ids=body["ids"],
        tags=body["tags"],
        kept_days=current_app.config["TRASH_DAYS"],
    )
    return {"results": outcomes}


@blueprint.get("/api/tenants/<tenant:tenant_id>/usage")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    returns=schemas.Usage,
    errors=(401, 403, 404, 503),
)
def get_usage(session: TenantSession) -> Usage:
    """What the tenant's documents take, and what they may."""
    return quota.usage(session, limits=general_limits())


def tenant_opener(open_session: OpenPlane) -> OpenSession:
    return cast("OpenSession", partial(open_session, "tenant"))


def general_limits() -> Limits:
    return Limits(
        bytes=current_app.config["TENANT_QUOTA_BYTES"],
        documents=current_app.config["TENANT_QUOTA_DOCUMENTS"],
    )
