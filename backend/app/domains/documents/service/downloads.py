"""Bytes that go out, and links that open them for anybody."""

import logging
from typing import BinaryIO
from uuid import UUID

from app.core import events
from app.core.errors import NotFound
from app.domains.documents import queries
from app.domains.documents.errors import BytesMissing
from app.domains.documents.events import DocumentDownloaded, LinkCreated
from app.domains.documents.models import Document, DocumentVersion
from app.domains.documents.service import files
from app.domains.documents.service.documents import get_document
from app.domains.documents.service.versions import get_version
from app.domains.tenants.service import directory as tenants
from app.integrations.storage import Link, ObjectMissing, Storage
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.sessions import TenantSession

logger = logging.getLogger(__name__)


def open_document(
    session: TenantSession, storage: Storage, *, document_id: UUID
) -> tuple[Document, BinaryIO]:
    """The document and its bytes.

    Raises:
        DocumentNotFound: there is none.
        BytesMissing: the store has lost them.
    """
    document = get_document(session, document_id=document_id)
    key = document.file.key
    try:
        return document, storage.open(key)
    except NotFound as error:
        # It may have been purged, or have got another version, since it was read.
        if get_document(session, document_id=document_id).file.key != key:
            return open_document(session, storage, document_id=document_id)
        raise bytes_missing(key) from error


def open_version(
    session: TenantSession, storage: Storage, *, document_id: UUID, number: int
) -> tuple[Document, DocumentVersion, BinaryIO]:
    """As `open_document`, of any version.

    Raises:
        VersionNotFound: there is none of this number.
    """
    document = get_document(session, document_id=document_id)
    version = get_version(session, document_id=document_id, number=number)
    try:
        return document, version, storage.open(version.file.key)
    except NotFound as error:
        session.expire_all()  # it may have been purged since
        get_version(session, document_id=document_id, number=number)
        raise bytes_missing(version.file.key) from error


def bytes_missing(key: str) -> BytesMissing:
    """Neither 404, for the document is there, nor 503, for it does not pass by itself."""
    logger.error("a stored object is missing", extra={"key": key})
    return BytesMissing("The bytes of this document are lost on our side; quote the request_id.")


def record_download(session: TenantSession, document: Document, *, version: int, way: str) -> None:
    events.record(
        session,
        DocumentDownloaded(document_id=document.id, name=document.name, version=version, way=way),
    )


def create_link(
    session: TenantSession, storage: Storage, *, document_id: UUID, expires_in: int
) -> str:
    """An address that opens the document's bytes for anybody, for ``expires_in`` seconds."""
    document = get_document(session, document_id=document_id)
    link = Link(document.file.key, document.name, document.content_type, subject=str(document.id))
    events.record(
        session,
        LinkCreated(
            document_id=document.id,
            name=document.name,
            owner_id=document.owner_id,
            expires_in=expires_in,
        ),
    )
    return storage.sign(link, expires_in=expires_in)


def follow_link(manager: TenantDatabaseManager, link: Link) -> None:
    """Lets a link of the disk store be followed, and records it.

    Raises:
        ObjectMissing: its tenant is not active; or its document is in the trash, or gone, or holds
            these bytes no more.
    """
    try:
        document_id = UUID(link.subject)
        location = tenants.active_location(files.database_of(link.key))
    except (ValueError, NotFound):  # made before links named their document; no such tenant
        raise _closed() from None
    with manager.tenant_db_session(location) as session:
        version = queries.version_behind(session, link.key, document_id=document_id)
        if version is None:
            raise _closed()
        document = get_document(session, document_id=version.document_id)
        record_download(session, document, version=version.number, way="link")


def _closed() -> ObjectMissing:
    return ObjectMissing("What this link opened is not there any more.")
