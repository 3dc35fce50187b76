"""What can go wrong with a document."""

from app.core.errors import Forbidden, NotFound, Unprocessable


class DocumentNotFound(NotFound):
    code = "document_not_found"


class NotYourDocument(Forbidden):
    code = "not_your_document"


class BadName(Unprocessable):
    code = "bad_document_name"
