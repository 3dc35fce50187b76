"""What can go wrong with a document."""

from app.core.errors import Conflict, Forbidden, Gone, NotFound, Unavailable, Unprocessable


class DocumentNotFound(NotFound):
    code = "document_not_found"


class NotYourDocument(Forbidden):
    code = "not_your_document"


class BadName(Unprocessable):
    code = "bad_document_name"


class UploadBusy(Unavailable):
    code = "upload_busy"


class UploadNotFound(NotFound):
    code = "upload_not_found"


class UploadExpired(Gone):
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
