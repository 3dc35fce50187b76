"""Each cell of the table of permissions is held by a row of the table of routes.

A cell is a role and a permission. It is turned round, and the real routes that ask for the
permission are asked again: one of them has to answer otherwise than `test_routes.TABLE` says, or
than `test_roles.ROLES` says of one's own document. So a test of these would have failed.
"""

import io
import re
from collections.abc import Iterator

import pytest
from flask import Flask

from app.core.http import PUBLIC, SIGNED_IN, Endpoint, stated_endpoint
from app.domains.access import policy
from app.domains.access.policy import PERMISSIONS, PLATFORM_ADMIN
from tests.architecture.test_routes import COLUMNS, TABLE, _bring_back, _requests
from tests.cast import Cast, Person
from tests.domains.access.test_roles import ROLES, own_document
from tests.paths import APP

_PLATFORM = "platform_admin"
# Who plays the role in the table of routes.
PLAYERS = {
    "viewer": "bob",
    "user": "ursula",
    "admin": "ada",
    "owner": "alice",
    _PLATFORM: "petra",
}
# What no route states, because a verb decides with the row in hand; and the route that comes to it.
ASKED_BY_VERBS = {"documents:manage": "documents.delete_document"}
# The column of `test_roles.ROLES`: in the table of routes the document is always somebody else's.
DELETES_OWN = 5
ALL = sorted(PLATFORM_ADMIN.union(*PERMISSIONS.values()))


def held(role: str) -> frozenset[str]:
    return PLATFORM_ADMIN if role == _PLATFORM else PERMISSIONS[role]


def flip(monkeypatch: pytest.MonkeyPatch, role: str, permission: str) -> None:
    flipped = held(role) ^ {permission}
    if role == _PLATFORM:
        monkeypatch.setattr(policy, "PLATFORM_ADMIN", flipped)
    else:
        monkeypatch.setattr(policy, "PERMISSIONS", {**PERMISSIONS, role: flipped})


def stated(app: Flask) -> Iterator[tuple[str, Endpoint]]:
    for name, view in app.view_functions.items():
        found = stated_endpoint(view)
        if found is not None:
            yield name, found


def routes_for(app: Flask, permission: str) -> list[str]:
    if permission in ASKED_BY_VERBS:
        return [ASKED_BY_VERBS[permission]]
    return [name for name, endpoint in stated(app) if endpoint.allow == permission]


def test_every_permission_is_asked_for(app: Flask) -> None:
    """One that nothing asks for protects nothing, and one that no role has opens nothing."""
    asked = {endpoint.allow for _, endpoint in stated(app)} - {PUBLIC, SIGNED_IN}
    assert asked.isdisjoint(ASKED_BY_VERBS)
    assert asked | ASKED_BY_VERBS.keys() == set(ALL)


def test_what_verbs_ask_for_is_known_here() -> None:
    found = {
        permission
        for path in APP.glob("domains/**/*.py")
        for permission in re.findall(r"\.allows\(\s*\"([^\"]+)\"", path.read_text("utf-8"))
    }
    assert found - {"documents:delete"} == ASKED_BY_VERBS.keys()


@pytest.mark.parametrize("permission", ALL)
@pytest.mark.parametrize("role", PLAYERS)
def test_a_flipped_cell_is_noticed(
    *,
    app: Flask,
    context: Flask,
    cast: Cast,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    permission: str,
) -> None:
    person: Person = getattr(cast, PLAYERS[role])
    author = cast.ada if person is cast.alice else cast.alice
    upload = author.post(cast.acme.documents, data={"file": (io.BytesIO(b"plans"), "plans.txt")})
    requests = _requests(cast, upload.get_json()["id"])
    column = COLUMNS.index(PLAYERS[role])
    own = f"{cast.acme.documents}/{own_document(cast, person)}"
    try:
        with monkeypatch.context() as patch:
            flip(patch, role, permission)
            noticed = any(
                requests[route](app.test_client(), person.headers).status_code
                != TABLE[route][column]
                for route in routes_for(app, permission)
            ) or (person.delete(own).status_code != ROLES[PLAYERS[role]][DELETES_OWN])
    finally:
        cast.petra.post(f"/api/tenants/{cast.acme.id}/resume")  # it may have been suspended
        _bring_back(app, cast)
    assert noticed is not _without_effect(app, role, permission)


def _without_effect(app: Flask, role: str, permission: str) -> bool:
    """No role is asked about, or the route refuses it before a verb could ask."""
    asking = set(routes_for(app, permission))
    of_tenants = {
        rule.endpoint for rule in app.url_map.iter_rules() if "tenant_id" in rule.arguments
    }
    if role != _PLATFORM and not asking & of_tenants:
        return True
    routes = dict(stated(app))
    return permission in ASKED_BY_VERBS and not any(
        routes[route].allow in held(role) for route in routes_for(app, permission)
    )


def test_a_platform_administrator_may_nothing_with_a_tenants_data() -> None:
    assert {permission.partition(":")[0] for permission in PLATFORM_ADMIN} == {
        "audit",
        "backups",
        "dead_letters",
        "fleet",
        "quotas",
        "tenants",
    }
    assert "audit:read" not in PLATFORM_ADMIN
