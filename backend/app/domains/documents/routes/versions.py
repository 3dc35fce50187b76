"""Versions of a document's content."""

from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, current_app

from app.core.caller import Caller
from app.core.conditions import IfMatch
from app.core.http import OpenPlane, endpoint
from app.core.idempotency import Once
from app.core.multipart import IncomingFile
from app.core.pages import Page, PageQuery, current_cursors
from app.domains.documents import schemas
from app.domains.documents.models import Document, DocumentVersion
from app.domains.documents.routes.documents import ONE, general_limits, tenant_opener
from app.domains.documents.routes.downloads import answer_download
from app.domains.documents.service import downloads, receiving, versions
from app.integrations.storage import current_storage
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("versions", __name__)

_VERSIONS: Final = ONE + "/versions"
_NUMBERED: Final = _VERSIONS + "/<int:number>"


@blueprint.get(_VERSIONS)
@endpoint(
    allow="documents:read",
    transaction="tenant_reads",
    query=PageQuery,
    returns=schemas.VersionPage,
    errors=(400, 401, 403, 404, 422, 503),
)
def list_versions(
    session: TenantSession, document_id: UUID, query: dict[str, Any]
) -> Page[DocumentVersion]:
    """What the document held, the newest first."""
    return versions.list_versions(
        session, cursors=current_cursors(), document_id=document_id, **query
    )


@blueprint.post(_VERSIONS)
@endpoint(
    allow="documents:update",
    transaction=None,
    takes_file=True,
    returns=schemas.Document,
    versioned=True,
    status=201,
    errors=(400, 401, 403, 404, 409, 412, 413, 415, 422, 503, 507),
)
def upload_version(
    *,
    caller: Caller,
    open_session: OpenPlane,
    document_id: UUID,
    if_match: IfMatch,
    file: IncomingFile,
    once: Once,
) -> Document:
    """Give the document new content; the old stays as a version. The name stays, too."""
    return receiving.upload_version(
        tenant_opener(open_session),
        current_storage(),
        caller=caller,
        document_id=document_id,
        if_match=if_match,
        content_type=file.content_type,
        chunks=file,
        expected_bytes=file.expected_bytes,
        limits=general_limits(),
        keep=current_app.config["MAX_VERSIONS"],
        done=once.remember,
    )


@blueprint.get(_NUMBERED + "/download")
@endpoint(
    allow="documents:read",
    transaction="tenant",
    gives_file=True,
    errors=(401, 403, 404, 412, 416, 500, 503),
)
def download_version(session: TenantSession, document_id: UUID, number: int) -> Response:
    """A version's bytes; Range and If-None-Match are honoured."""
    document, version, file = downloads.open_version(
        session, current_storage(), document_id=document_id, number=number
    )
    return answer_download(session, document, version, file, number=number)


@blueprint.post(_NUMBERED + "/restore")
@endpoint(
    allow="documents:update",
    transaction="tenant",
    returns=schemas.Document,
    versioned=True,
    errors=(401, 403, 404, 412, 503),
)
def restore_version(
    session: TenantSession, caller: Caller, document_id: UUID, number: int, if_match: IfMatch
) -> Document:
    """Make a former version's content the newest again, as a new version."""
    return versions.restore_version(
        session,
        caller=caller,
        document_id=document_id,
        number=number,
        if_match=if_match,
        keep=current_app.config["MAX_VERSIONS"],
    )
