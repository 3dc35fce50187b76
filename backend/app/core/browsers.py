"""What browsers are told: what they may do with an answer, and whose pages may ask for it."""

from typing import Final

from flask import Flask, Response, request

from app.core.tenant_names import HEADER
from app.settings import Environment, Settings

# A route may say otherwise of its own answer.
_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}
# Not includeSubDomains: what else lives below the operator's domain is not ours to decide.
_HSTS: Final = "max-age=31536000"

# What a page of another origin may send and read beyond the Fetch standard's own lists.
_SENT: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Range, X-Request-Id,"
    f" {HEADER}"
)
_READ: Final = (
    "Content-Disposition, Content-Range, Deprecation, ETag, Idempotency-Replayed,"
    " Location, RateLimit, RateLimit-Policy, Retry-After, Sunset, X-Request-Id"
)
_PREFLIGHT_SECONDS: Final = "600"


def init_app(app: Flask, settings: Settings) -> None:
    always = dict(_ALWAYS)
    if settings.environment == Environment.PRODUCTION:
        always["Strict-Transport-Security"] = _HSTS

    @app.after_request
    def _tell(response: Response) -> Response:
        headers = response.headers
        told = {name.lower() for name, _ in headers}
        headers.extend([each for each in always.items() if each[0].lower() not in told])
        if settings.cors_origins:
            _vary(response)
            _allow_origin(response, settings.cors_origins)
        return response


def _vary(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Origin")
    else:
        response.headers.add("Vary", "Origin")


def _allow_origin(response: Response, origins: tuple[str, ...]) -> None:
    """CORS for tokens in headers: cookies are neither sent nor needed (no Allow-Credentials)."""
    origin = request.environ.get("HTTP_ORIGIN")
    if origin not in origins:
        return
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = _READ
    asks_first = "Access-Control-Request-Method" in request.headers
    if request.method == "OPTIONS" and asks_first and response.allow:
        response.headers["Access-Control-Allow-Methods"] = ", ".join(sorted(response.allow))
        response.headers["Access-Control-Allow-Headers"] = _SENT
        response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
