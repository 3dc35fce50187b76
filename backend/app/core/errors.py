"""What can go wrong, named after its meaning, and its form on the wire (RFC 9457)."""

from collections.abc import Callable, Mapping
from typing import ClassVar


class AppError(Exception):
    """Something went wrong on our side; the log knows more.

    Repeat the request later; quote its request_id to the operator.

    Base of every error that an answer may tell. A subclass's docstring is its entry in
    docs/errors.md: what it means, then, where that differs from its base, what to do. The detail
    says the same of the case at hand. ``errors`` maps a field's name to its messages;
    ``retry_after`` is in seconds; ``headers`` are the answer's.
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
        # Whether that tells of the refusal.
        self.told = False

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
    """The request cannot be read: it is no JSON, no form, or breaks off.

    Mend what the detail names; sent unchanged, it fails again.
    """

    status, code, title = 400, "bad_request", "Bad request"


class Unauthenticated(AppError):
    """Nobody is signed in with this token, or no more.

    Refresh the access token, or sign in again.
    """

    status, code, title = 401, "unauthenticated", "Not signed in"


class Forbidden(AppError):
    """The caller's role does not have the permission that the detail names.

    Ask an administrator of the tenant.
    """

    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(AppError):
    """There is nothing at this address, or nothing that the caller may know of.

    Check the address and the ids in it.
    """

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(AppError):
    """The address exists, and not for this method.

    Use one of the methods in the Allow header.
    """

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class Conflict(AppError):
    """What is asked for contradicts the present state.

    Read the state anew, then decide.
    """

    status, code, title = 409, "conflict", "Conflict"


class Gone(AppError):
    """It was there once, and will not come back.

    Forget the address.
    """

    status, code, title = 410, "gone", "Gone"


class PreconditionFailed(AppError):
    """What If-Match names is not what is there now.

    Read it anew, then repeat the change.
    """

    status, code, title = 412, "precondition_failed", "Precondition failed"


class PayloadTooLarge(AppError):
    """The body is larger than this installation takes.

    Send less.
    """

    status, code, title = 413, "payload_too_large", "Payload too large"


class UnsupportedMediaType(AppError):
    """The body is not of the type that this address takes.

    Send what the detail names as Content-Type.
    """

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(AppError):
    """No byte lies in the Range that was asked for.

    Ask for a range within the length in Content-Range.
    """

    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Unprocessable(AppError):
    """The payload can be read and does not fit; ``errors`` has messages by field.

    Mend the fields that it names.
    """

    status, code, title = 422, "invalid_payload", "Invalid payload"


class TooManyRequests(AppError):
    """There were more requests of this kind than one client or account may send.

    Repeat the request after the seconds in Retry-After.
    """

    status, code, title = 429, "too_many_requests", "Too many requests"


class Unavailable(AppError):
    """A part of the system is away or overloaded just now.

    Repeat the request after the seconds in Retry-After.
    """

    status, code, title = 503, "unavailable", "Unavailable"
    retry_after = 2


class InsufficientStorage(AppError):
    """There is no room for what was sent.

    Delete something, or ask the operator for room.
    """

    status, code, title = 507, "insufficient_storage", "Insufficient storage"
