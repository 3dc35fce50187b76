"""Bytes over HTTP: whole, in part, in archives, and behind signed links (RFC 9110, RFC 6266)."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any, BinaryIO, Final
from uuid import UUID

from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.wsgi import FileWrapper, wrap_file

from app.core import clock
from app.core.errors import PreconditionFailed
from app.core.http import PUBLIC, endpoint
from app.domains.documents import schemas
from app.domains.documents.models import Document, DocumentVersion
from app.domains.documents.routes.documents import DOCUMENTS, ONE
from app.domains.documents.service import bundles, downloads
from app.integrations.storage import DiskStorage, LinkInvalid, check_link, current_storage
from app.integrations.storage.presentation import disposition
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("downloads", __name__)

_BUFFER: Final = 256 * 1024


@blueprint.get(ONE + "/download")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    gives_file=True,
    errors=(401, 403, 404, 412, 416, 500, 503),
)
def download_document(session: TenantSession, document_id: UUID) -> Response:
    """The document's bytes; Range and If-None-Match are honoured."""
    document, file = downloads.open_document(session, current_storage(), document_id=document_id)
    return answer_download(session, document, document, file, number=document.version)


@blueprint.get(ONE + "/download-url")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    query=schemas.LinkQuery,
    returns=schemas.SignedLink,
    errors=(400, 401, 403, 404, 422, 503),
)
def create_link(
    session: TenantSession, document_id: UUID, query: dict[str, int]
) -> dict[str, object]:
    """A signed link that opens the bytes for anybody who has it, until it expires."""
    expires_in = query["expires_in"]
    url = downloads.create_link(
        session, current_storage(), document_id=document_id, expires_in=expires_in
    )
    return {"url": url, "expires_at": clock.now() + timedelta(seconds=expires_in)}


@blueprint.post(DOCUMENTS + "/zip")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    body=schemas.ZipSelection,
    gives_file=True,
    errors=(400, 401, 403, 404, 413, 415, 422, 500, 503),
)
def download_zip(session: TenantSession, body: dict[str, Any]) -> Response:
    """Several documents in one ZIP archive, uncompressed, written while it is sent."""
    entries = bundles.choose(
        session,
        document_ids=body["ids"],
        max_documents=current_app.config["MAX_ZIP_DOCUMENTS"],
        max_bytes=current_app.config["MAX_ZIP_BYTES"],
    )
    response = Response(bundles.archive(current_storage(), entries), mimetype="application/zip")
    response.headers["Content-Disposition"] = disposition("documents.zip", "application/zip")
    return response


@blueprint.get("/api/links/<token>")
@endpoint(allow=PUBLIC, transaction=None, gives_file=True, errors=(403, 404, 416, 503))
def follow_link(token: str) -> Response:
    """The bytes behind a signed link of the disk store; no token is needed."""
    storage = current_storage()
    if not isinstance(storage, DiskStorage):
        raise LinkInvalid("Links are served by the file store itself.")
    link = storage.redeem(token, host=request.host)
    check_link(link)
    return _file_response(storage.open(link.key), link.name, link.content_type, inline=link.inline)


def answer_download(
    session: TenantSession,
    document: Document,
    content: Document | DocumentVersion,
    file: BinaryIO,
    *,
    number: int,
) -> Response:
    """The bytes, or what they are asked for; recorded where bytes are sent."""
    response = _file_response(
        file, document.name, content.content_type, content.size, content.digest
    )
    if request.method == "GET" and response.status_code in {
        HTTPStatus.OK,
        HTTPStatus.PARTIAL_CONTENT,
    }:
        downloads.record_download(session, document, version=number, way="direct")
    return response


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
