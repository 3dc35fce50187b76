"""The API's contract over HTTP, and Swagger UI to read it in a browser.

All files come from here: a page that loaded scripts from elsewhere would run them with whatever
token its reader enters.
"""

from importlib.resources import files
from typing import Final, cast

from flask import Flask, Response, current_app, request

from app.core import openapi, payloads
from app.core.errors import NotFound
from app.core.http import PUBLIC, endpoint

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Tenantry API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START: Final = """\
SwaggerUIBundle({url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});
"""
# The published package's files that the page needs, and its licence (Apache-2.0).
_ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
    "LICENSE": "text/plain",
}
# Swagger UI styles its elements one by one.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


def init_app(app: Flask) -> None:
    app.add_url_rule("/api/openapi.json", "openapi", contract)
    app.add_url_rule("/api/docs", "docs", page)
    app.add_url_rule("/api/docs/<name>", "docs_asset", asset)


@endpoint(allow=PUBLIC, transaction=None, limited=False)
def contract() -> Response:
    """This document: every route, what it takes and gives, and who may."""
    known = current_app.extensions
    if "contract" not in known:  # all routes are there with the first request
        known["contract"] = openapi.generate(current_app)
    response = payloads.json_response(known["contract"])
    return _revalidated(response)


@endpoint(allow=PUBLIC, transaction=None, limited=False, gives_file="text/html")
def page() -> Response:
    """This document for people."""
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    return _revalidated(response)


@endpoint(allow=PUBLIC, transaction=None, limited=False, gives_file=True, errors=(404,))
def asset(name: str) -> Response:
    """A file of that page."""
    if name == "start.js":
        return _revalidated(Response(_START, content_type="text/javascript; charset=utf-8"))
    if name not in _ASSETS:
        raise NotFound("The page of the documentation has no such file.")
    content = files("flask_swagger_ui").joinpath("dist", name).read_bytes()
    return _revalidated(Response(content, content_type=_ASSETS[name]))


def _revalidated(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    return cast("Response", response.make_conditional(request))
