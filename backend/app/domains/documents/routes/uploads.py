"""Uploads straight to the store, over HTTP."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from flask import Blueprint, Response, current_app, request

from app.core import clock, payloads
from app.core.caller import Caller
from app.core.errors import Unprocessable
from app.core.http import PUBLIC, OpenPlane, endpoint
from app.core.idempotency import Once
from app.domains.documents import schemas
from app.domains.documents.models import Document, Upload, UploadState
from app.domains.documents.routes.documents import DOCUMENTS, general_limits, tenant_opener
from app.domains.documents.service import documents, files, uploads
from app.integrations.storage import DiskStorage, LinkInvalid, current_storage
from app.tenancy.sessions import TenantSession

blueprint: Final = Blueprint("uploads", __name__)

_UPLOADS: Final = DOCUMENTS + "/uploads"
_ONE: Final = _UPLOADS + "/<uuid:upload_id>"
_ADDRESS_SECONDS: Final = 3600
# How many addresses are handed out unasked.
_FIRST_PARTS: Final = 100
_CHUNK: Final = 64 * 1024


@blueprint.post(_UPLOADS)
@endpoint(
    allow="documents:create",
    transaction=None,
    body=schemas.NewUpload,
    returns=schemas.Upload,
    status=201,
    errors=(400, 401, 403, 404, 409, 413, 415, 422, 503, 507),
)
def reserve_upload(
    caller: Caller, open_session: OpenPlane, body: dict[str, Any], once: Once
) -> dict[str, Any]:
    """Begin an upload that goes straight to the store; the answer says where to PUT the bytes."""

    def remember(session: TenantSession, upload: Upload) -> None:
        once.remember(session, _told(upload, database=session.location.database))

    upload = uploads.reserve_upload(
        tenant_opener(open_session),
        current_storage(),
        caller=caller,
        largest=current_app.config["MAX_UPLOAD_BYTES"],
        limits=general_limits(),
        done=remember,
        **body,
    )
    return _shown(upload, open_session)


@blueprint.get(_ONE)
@endpoint(
    allow="documents:create",
    transaction=None,
    returns=schemas.Upload,
    errors=(401, 403, 404, 503),
)
def get_upload(caller: Caller, open_session: OpenPlane, upload_id: UUID) -> dict[str, Any]:
    """How far one's own upload is, with new addresses for what is missing."""
    with tenant_opener(open_session)() as session:
        upload = uploads.get_upload(session, caller=caller, upload_id=upload_id)
    return _shown(upload, open_session)


@blueprint.post(_ONE + "/parts")
@endpoint(
    allow="documents:create",
    transaction=None,
    body=schemas.PartNumbers,
    returns=schemas.PartAddresses,
    errors=(400, 401, 403, 404, 415, 422, 503),
)
def sign_parts(
    caller: Caller, open_session: OpenPlane, upload_id: UUID, body: dict[str, list[int]]
) -> dict[str, Any]:
    """Addresses for these parts of an upload in parts."""
    with tenant_opener(open_session)() as session:
        upload = uploads.get_upload(session, caller=caller, upload_id=upload_id)
        database = session.location.database
    if upload.state != UploadState.OPEN or max(body["numbers"]) > upload.part_count:
        message = f"This upload takes parts 1 to {upload.part_count} while it is open."
        raise Unprocessable(message, errors={"numbers": [message]})
    return {"addresses": _part_addresses(upload, body["numbers"], database)}


@blueprint.post(_ONE + "/complete")
@endpoint(
    allow="documents:create",
    transaction=None,
    returns=schemas.Upload,
    errors=(401, 403, 404, 409, 410, 503, 507),
)
def complete_upload(caller: Caller, open_session: OpenPlane, upload_id: UUID) -> Response:
    """Verify what arrived and make the document; 202 while a large one is still being verified."""
    upload = uploads.complete_upload(
        tenant_opener(open_session),
        current_storage(),
        caller=caller,
        upload_id=upload_id,
        at_once=current_app.config["VERIFY_AT_ONCE_BYTES"],
    )
    status = 202 if upload.state == UploadState.VERIFYING else 200
    return payloads.json_response(
        schemas.Upload().dump(_shown(upload, open_session)), status=status
    )


@blueprint.delete(_ONE)
@endpoint(allow="documents:create", transaction=None, status=204, errors=(401, 403, 404, 409, 503))
def abort_upload(caller: Caller, open_session: OpenPlane, upload_id: UUID) -> None:
    """Give an upload up, with what has arrived of it."""
    uploads.abort_upload(
        tenant_opener(open_session), current_storage(), caller=caller, upload_id=upload_id
    )


@blueprint.put("/api/incoming/<token>")
@endpoint(allow=PUBLIC, transaction=None, errors=(400, 403, 404, 503, 507))
def receive_bytes(token: str) -> Response:
    """The bytes of an upload to the disk store; the address is signed, no token is needed."""
    storage = current_storage()
    if not isinstance(storage, DiskStorage):
        raise LinkInvalid("Uploads go to the file store itself.")
    grant = storage.redeem_grant(token, host=request.host)
    md5 = storage.receive(grant, _body())
    return Response(headers={"ETag": f'"{md5}"'})


def _shown(upload: Upload, open_session: OpenPlane) -> dict[str, Any]:
    """The upload as it is, with addresses for what is missing while it is open."""
    with tenant_opener(open_session)() as session:
        database, document = session.location.database, None
        if upload.document_id is not None:
            document = documents.find_document(session, document_id=upload.document_id)
    received = uploads.received_parts(current_storage(), upload, database=database)
    return _told(upload, database=database, document=document, received=received)


def _told(
    upload: Upload,
    *,
    database: str,
    document: Document | None = None,
    received: Sequence[int] = (),
) -> dict[str, Any]:
    shown = {name: getattr(upload, name) for name in schemas.Upload.OF_THE_ROW}
    shown["active"] = upload.state in {UploadState.OPEN, UploadState.VERIFYING}
    shown |= {"document": document, "received": received, "addresses": []}
    if upload.state == UploadState.OPEN:
        missing = [
            number
            for number in range(1, max(upload.part_count, 1) + 1)
            if number not in set(received)
        ]
        shown["addresses"] = _part_addresses(upload, missing[:_FIRST_PARTS], database)
    return shown


def _part_addresses(upload: Upload, numbers: Sequence[int], database: str) -> list[dict[str, Any]]:
    """An upload in one piece has the one part 1."""
    storage, key = current_storage(), files.incoming_key(database, upload.id)
    left = upload.expires_at - clock.now()
    seconds = min(_ADDRESS_SECONDS, max(1, int(left / timedelta(seconds=1))))
    if upload.store_id is None:
        url = storage.sign_put(key, size=upload.size, expires_in=seconds)
        return [{"number": 1, "size": upload.size, "url": url}] if numbers else []
    return [
        {
            "number": number,
            "size": upload.size_of_part(number),
            "url": storage.sign_part(
                key,
                upload.store_id,
                number=number,
                size=upload.size_of_part(number),
                expires_in=seconds,
            ),
        }
        for number in numbers
    ]


def _body() -> Iterator[bytes]:
    while chunk := payloads.read_body(_CHUNK):
        yield chunk
