"""What can go wrong with a document."""

from app.core.errors import (
    AppError,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    Unavailable,
    Unprocessable,
)


class DocumentNotFound(NotFound):
    """The tenant has no such document, or it was deleted."""

    code = "document_not_found"


class VersionNotFound(NotFound):
    """The document has no such version, or it is kept no longer."""

    code = "version_not_found"


class NotYourDocument(Forbidden):
    """The caller's role may delete only what he or she uploaded."""

    code = "not_your_document"


class BadName(Unprocessable):
    """The file's name is empty, too long, or holds what no name may hold.

    Give the file another name.
    """

    code = "bad_document_name"


class BadTags(Unprocessable):
    """There are too many tags, or one is empty, too long, or holds what no tag may hold."""

    code = "bad_tags"


class ZipTooLarge(Unprocessable):
    """The archive would hold more than an archive may.

    Choose fewer documents.
    """

    code = "zip_too_large"


class QuotaExceeded(Conflict):
    """Nothing is wrong with the request: it can be repeated once there is room (RFC 9110, 15.5.10).

    413 would blame the size of a file that may be empty, 507 the server's disk.
    """

    code = "quota_exceeded"


class BytesMissing(AppError):
    """The document is there and its bytes are not: our loss, which no repetition mends."""

    code = "bytes_missing"


class UploadBusy(Unavailable):
    """Another request is completing this upload."""

    code = "upload_busy"


class UploadNotFound(NotFound):
    """The tenant has no such upload, or it was completed or given up."""

    code = "upload_not_found"


class UploadExpired(Gone):
    """The upload was not completed in time, and what had arrived is gone.

    Begin the upload anew.
    """

    code = "upload_expired"


class UploadOver(Conflict):
    """It was completed, has failed, or was aborted."""

    code = "upload_over"


class UploadIncomplete(Conflict):
    """Bytes are missing; they may still be sent."""

    code = "upload_incomplete"


class UploadDiffers(Conflict):
    """What arrived is not what was announced; nothing of it is kept."""

    code = "upload_differs"


class ErasureHeld(Unavailable):
    """A backup is being taken, which may know bytes that nothing else needs any more."""

    code = "erasure_held"
    retry_after = 60
