"""What a person's directory knows of him or her, over HTTP."""

from typing import Any, Final

from flask import Blueprint, Response

from app.core.caller import Caller
from app.core.errors import NotFound
from app.core.http import SIGNED_IN, endpoint
from app.domains.sso import schemas
from app.domains.sso.routes.ports import current_ports
from app.domains.sso.service import directory

blueprint: Final = Blueprint("sso_profile", __name__, url_prefix="/api/users/me/azure")


@blueprint.get("/profile")
@endpoint(
    allow=SIGNED_IN,
    transaction=None,
    query=schemas.ProfileQuery,
    returns=schemas.Profile,
    errors=(401, 403, 404, 422, 503),
)
def get_profile(caller: Caller, query: dict[str, Any]) -> dict[str, Any]:
    """What the caller's directory knows of the caller; its tokens are renewed where need be."""
    return directory.profile(current_ports(), user_id=caller.user_id, **query)


@blueprint.get("/photo")
@endpoint(
    allow=SIGNED_IN,
    transaction=None,
    query=schemas.ProfileQuery,
    gives_file=True,
    errors=(401, 403, 404, 422, 503),
)
def get_photo(caller: Caller, query: dict[str, Any]) -> Response:
    """The caller's photo in the directory: JPEG or PNG."""
    photo = directory.photo(current_ports(), user_id=caller.user_id, **query)
    if photo is None:
        raise NotFound("The directory has no photo of you.")
    return Response(photo.content, mimetype=photo.media_type)
