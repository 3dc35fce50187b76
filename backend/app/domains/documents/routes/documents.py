"""Documents over HTTP."""

from datetime import timedelta
from functools import partial
from typing import Any, BinaryIO, Final, cast
from uuid import UUID

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import FileWrapper, wrap_file

from app.core import clock
from app.core.caller import Caller
from app.core.errors import PreconditionFailed
from app.core.http import PUBLIC, OpenPlane, endpoint
from app.core.multipart import incoming_file
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.documents import schemas
from app.domains.documents.models import Document
from app.domains.documents.service import documents as service
from app.domains.documents.service.placing import OpenSession
from app.integrations.storage import DiskStorage, LinkInvalid, current_storage
from app.integrations.storage.presentation import disposition
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("documents", __name__)

_DOCUMENTS: Final = "/api/tenants/<tenant:tenant_id>/documents"
_ONE: Final = _DOCUMENTS + "/<uuid:document_id>"
_BUFFER: Final = 64 * 1024


@blueprint.post(_DOCUMENTS)
@endpoint(
    allow="documents:create",
    transaction=None,
    takes_file=True,
    returns=schemas.Document,
    status=201,
    errors=(400, 401, 403, 404, 413, 415, 422, 503, 507),
)
def upload_document(caller: Caller, open_session: OpenPlane) -> Document:
    """Upload a file as multipart/form-data, in the part named ``file``."""
    file = incoming_file(limit=current_app.config["MAX_UPLOAD_BYTES"])
    return service.upload_document(
        cast("OpenSession", partial(open_session, "tenant")),
        current_storage(),
        caller=caller,
        name=file.name,
        content_type=file.content_type,
        chunks=file,
    )


@blueprint.get(_DOCUMENTS)
@endpoint(
    allow="documents:read",
    transaction="tenant",
    query=PageQuery,
    returns=schemas.DocumentPage,
    errors=(401, 403, 404, 422, 503),
)
def list_documents(session: TenantSession, query: dict[str, Any]) -> Page[Document]:
    """The tenant's documents, newest first."""
    return service.list_documents(session, cursors=current_cursors(), **query)


@blueprint.get(_ONE)
@endpoint(
    allow="documents:read",
    transaction="tenant",
    returns=schemas.Document,
    errors=(401, 403, 404, 503),
)
def get_document(session: TenantSession, document_id: UUID) -> Document:
    """One document's properties."""
    return service.get_document(session, document_id=document_id)


@blueprint.delete(_ONE)
@endpoint(allow="documents:delete", transaction="tenant", status=204, errors=(401, 403, 404, 503))
def delete_document(session: TenantSession, caller: Caller, document_id: UUID) -> None:
    """Delete a document."""
    service.delete_document(session, caller=caller, document_id=document_id)


@blueprint.get(_ONE + "/download")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    gives_file=True,
    errors=(401, 403, 404, 412, 416, 503),
)
def download_document(session: TenantSession, document_id: UUID) -> Response:
    """The document's bytes; Range and If-None-Match are honoured."""
    document, file = service.open_document(session, current_storage(), document_id=document_id)
    return _file_response(
        file, document.name, document.content_type, document.size, document.digest
    )


@blueprint.get(_ONE + "/download-url")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    query=schemas.LinkQuery,
    returns=schemas.SignedLink,
    errors=(401, 403, 404, 422, 503),
)
def create_link(
    session: TenantSession, document_id: UUID, query: dict[str, int]
) -> dict[str, object]:
    """A signed link that opens the bytes for anybody who has it, until it expires."""
    expires_in = query["expires_in"]
    url = service.create_link(
        session, current_storage(), document_id=document_id, expires_in=expires_in
    )
    return {"url": url, "expires_at": clock.now() + timedelta(seconds=expires_in)}


@blueprint.get("/api/links/<token>")
@endpoint(allow=PUBLIC, transaction=None, gives_file=True, errors=(403, 404, 416, 503))
def follow_link(token: str) -> Response:
    """The bytes behind a signed link of the disk store; no token is needed."""
    storage = current_storage()
    if not isinstance(storage, DiskStorage):
        raise LinkInvalid("Links are served by the file store itself.")
    link = storage.redeem(token, host=request.host)
    return _file_response(storage.open(link.key), link.name, link.content_type, inline=link.inline)


def _file_response(
    file: BinaryIO,
    name: str,
    content_type: str,
    size: int | None = None,
    digest: str | None = None,
    *,
    inline: bool = False,
) -> Response:
    """The bytes, unless ``inline`` as an attachment; never as a page that may run anything."""
    if size is None:
        size = file.seek(0, 2)
        file.seek(0)
    part = _asks_for_one_part(size)
    # A server's own wrapper cannot seek: it would read all that lies before the part.
    body = FileWrapper(file, _BUFFER) if part else wrap_file(request.environ, file, _BUFFER)
    response = Response(body, direct_passthrough=True)
    response.headers["Content-Type"] = content_type
    response.headers["Content-Disposition"] = disposition(name, content_type, inline=inline)
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response.accept_ranges = "bytes"
    response.content_length = size
    if digest is not None:
        response.set_etag(digest.removeprefix("sha256:"))
    try:
        response.make_conditional(request, accept_ranges=part, complete_length=size)
    except HTTPException:
        response.close()
        raise
    if response.status_code == PreconditionFailed.status:
        response.close()
        raise PreconditionFailed("The document is not the one that If-Match names.")
    return response


def _asks_for_one_part(size: int) -> bool:
    """Any other Range is ignored and the whole is sent (RFC 9110, section 14.2)."""
    asked = request.range
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return False
    first, _ = asked.ranges[0]
    return first >= -size
