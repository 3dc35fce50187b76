"""What can go wrong, named after its meaning, and its form on the wire (RFC 9457)."""

from collections.abc import Callable, Mapping
from typing import ClassVar


class AppError(Exception):
    """Base of every error that an answer may tell. The detail says what to do next.

    ``errors`` maps a field's name to its messages; ``retry_after`` is in seconds; ``headers`` are
    the answer's.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retry_after: int | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str, *, errors: dict[str, object] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        # What must be written although the request is refused; see core.db.record_despite.
        self.despite: list[Callable[..., None]] = []

    def problem(self, request_id: str) -> dict[str, object]:
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.errors is not None:
            problem["errors"] = self.errors
        return problem


class BadRequest(AppError):
    status, code, title = 400, "bad_request", "Bad request"


class Unauthenticated(AppError):
    status, code, title = 401, "unauthenticated", "Not signed in"


class Forbidden(AppError):
    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(AppError):
    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(AppError):
    status, code, title = 405, "method_not_allowed", "Method not allowed"


class Conflict(AppError):
    status, code, title = 409, "conflict", "Conflict"


class Gone(AppError):
    status, code, title = 410, "gone", "Gone"


class PreconditionFailed(AppError):
    status, code, title = 412, "precondition_failed", "Precondition failed"


class PayloadTooLarge(AppError):
    status, code, title = 413, "payload_too_large", "Payload too large"


class UnsupportedMediaType(AppError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(AppError):
    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Unprocessable(AppError):
    status, code, title = 422, "invalid_payload", "Invalid payload"


class TooManyRequests(AppError):
    status, code, title = 429, "too_many_requests", "Too many requests"


class Unavailable(AppError):
    status, code, title = 503, "unavailable", "Unavailable"
    retry_after = 2


class InsufficientStorage(AppError):
    status, code, title = 507, "insufficient_storage", "Insufficient storage"
