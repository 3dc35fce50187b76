"""The trash: what was deleted, back again, or gone for good."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint

from app.core.caller import Caller
from app.core.http import OpenPlane, endpoint
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.documents import schemas
from app.domains.documents.models import Document
from app.domains.documents.routes.documents import DOCUMENTS, ONE, tenant_opener
from app.domains.documents.service import trash
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("trash", __name__)

_TRASH: Final = DOCUMENTS + "/trash"


@blueprint.get(_TRASH)
@endpoint(
    allow="documents:delete",
    transaction="tenant_reads",
    query=PageQuery,
    returns=schemas.TrashPage,
    errors=(400, 401, 403, 404, 422, 503),
)
def list_trash(session: TenantSession, caller: Caller, query: dict[str, Any]) -> Page[Document]:
    """Your documents in the trash, or all for who manages all; the last deleted first."""
    return trash.list_trash(session, caller=caller, cursors=current_cursors(), **query)


@blueprint.post(ONE + "/restore")
@endpoint(
    allow="documents:delete",
    transaction="tenant",
    returns=schemas.Document,
    versioned=True,
    errors=(401, 403, 404, 503),
)
def restore_document(session: TenantSession, caller: Caller, document_id: UUID) -> Document:
    """Take a document out of the trash."""
    return trash.restore_document(session, caller=caller, document_id=document_id)


@blueprint.delete(_TRASH + "/<uuid:document_id>")
@endpoint(allow="documents:delete", transaction="tenant", status=204, errors=(401, 403, 404, 503))
def purge_document(session: TenantSession, caller: Caller, document_id: UUID) -> None:
    """Delete a document in the trash for good."""
    trash.purge_document(session, caller=caller, document_id=document_id)


@blueprint.delete(_TRASH)
@endpoint(
    allow="documents:delete",
    transaction=None,
    returns=schemas.Purged,
    errors=(401, 403, 404, 503),
)
def empty_trash(caller: Caller, open_session: OpenPlane) -> dict[str, int]:
    """Delete your documents in the trash for good, or all for who manages all."""
    return {"purged": trash.empty_trash(tenant_opener(open_session), caller=caller)}
