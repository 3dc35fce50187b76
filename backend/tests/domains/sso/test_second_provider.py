"""Signing in by an implementation of OpenID Connect that is not ours, rightly and wrongly."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.core import ids
from app.core.db import main_session, platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.sso.models import UserAzureIdentity
from app.domains.sso.service import connections
from app.settings import Settings
from tests.core.apps import another_app
from tests.domains.sso.browsers import CALLBACK, bearer
from tests.domains.sso.second import Guest, SecondDirectory, settle


@pytest.fixture(scope="module")
def second_url(server_urls: dict[str, str]) -> str:
    if not (url := server_urls.get("oidc")):
        pytest.skip("needs oidc-provider: scripts/services.py run")
    return url


@pytest.fixture(scope="module")
def second_app(settings: Settings, app: Flask, second_url: str) -> Iterator[Flask]:
    directory = SecondDirectory(second_url)
    origin, _, _ = second_url.partition("#")
    changes = {"azure_authority_url": origin, "azure_ca_file": directory.ca_file}
    with another_app(settings.model_copy(update=changes)) as made:
        yield made


@pytest.fixture(scope="module")
def shared(second_app: Flask, second_url: str) -> Guest:
    return settle(second_app, SecondDirectory(second_url))


@pytest.fixture
def acme(shared: Guest) -> Guest:
    """With nobody in its directory, which signs as it should."""
    shared.directory.people.clear()
    shared.directory.publish()
    return shared


@pytest.fixture(autouse=True)
def _inside(second_app: Flask) -> Iterator[None]:
    with second_app.app_context():
        yield


def depart(guest: Guest) -> tuple[Any, str]:
    """A browser of its own, and where it was sent."""
    client = guest.app.test_client()
    answer = client.get(f"/api/auth/sso/azure/login/{guest.house.id}")
    assert answer.status_code == 302, answer.text
    return client, answer.headers["Location"]


def newcomer(guest: Guest, **claims: Any) -> str:
    login = f"ursula-{ids.new_id().hex[-12:]}"
    guest.directory.add_person(login, f"{login}@{guest.domain}", **claims)
    guest.directory.publish()
    return login


def sign_in(guest: Guest, login: str) -> TestResponse:
    client, location = depart(guest)
    answer: TestResponse = client.get(
        CALLBACK, query_string=guest.directory.sign_in(location, login)
    )
    return answer


def test_people_sign_in_and_stay_the_same_whatever_key_signs(acme: Guest) -> None:
    login = newcomer(acme)
    accounts = set()
    for _ in range(2):
        headers = bearer(sign_in(acme, login))
        me = acme.app.test_client().get("/api/users/me", headers=headers).get_json()
        assert me["email"] == f"{login}@{acme.domain}"
        assert acme.app.test_client().get(acme.house.documents, headers=headers).status_code == 200
        accounts.add(me["id"])
        acme.directory.publish()  # with another key
    assert len(accounts) == 1


def test_a_refresh_token_that_comes_twice_ends_the_connection(acme: Guest) -> None:
    """It is another one after each use; who brings a former one has stolen it, or lost one."""
    login = newcomer(acme)
    headers = bearer(sign_in(acme, login))
    first = _row(acme, login)
    assert _renew(acme, first) == "refreshed"
    second = _row(acme, login)
    assert _renew(acme, second) == "refreshed"
    assert acme.app.test_client().get("/api/users/me", headers=headers).status_code == 200
    with main_session(tenant_id=acme.house.id) as session:
        session.execute(
            update(UserAzureIdentity)
            .where(UserAzureIdentity.id == first.id)
            .values(sealed_cache=first.sealed_cache)
        )
    assert _renew(acme, _row(acme, login)) == "revoked"
    assert acme.app.test_client().get("/api/users/me", headers=headers).status_code == 401


def _row(guest: Guest, login: str) -> UserAzureIdentity:
    object_id = guest.directory.people[login]["oid"]
    with main_session(tenant_id=guest.house.id) as session:
        return session.scalars(
            select(UserAzureIdentity).where(UserAzureIdentity.object_id == object_id)
        ).one()


def _renew(guest: Guest, row: UserAzureIdentity) -> str | None:
    return connections.renew(
        guest.app.extensions["sso"],
        tenant_id=guest.house.id,
        identity_id=row.id,
        version=row.version,
    )


def claiming(**claims: Any) -> Callable[[Guest, Guest], TestResponse]:
    """Signed as it should be, and saying this."""
    return lambda acme, _: sign_in(acme, newcomer(acme, **claims))


def signed_by(algorithm: str) -> Callable[[Guest, Guest], TestResponse]:
    def arrive(acme: Guest, _: Guest) -> TestResponse:
        login = newcomer(acme)
        acme.directory.publish(id_token_signed_response_alg=algorithm)
        return sign_in(acme, login)

    return arrive


def replayed_code(acme: Guest, _: Guest) -> TestResponse:
    login = newcomer(acme)
    client, location = depart(acme)
    first = acme.directory.sign_in(location, login)
    bearer(client.get(CALLBACK, query_string=first))
    second = acme.directory.sign_in(depart_again(client, acme), login)
    answer: TestResponse = client.get(CALLBACK, query_string=second | {"code": first["code"]})
    return answer


def depart_again(client: Any, guest: Guest) -> str:
    answer = client.get(f"/api/auth/sso/azure/login/{guest.house.id}")
    return str(answer.headers["Location"])


def injected_code(acme: Guest, _: Guest) -> TestResponse:
    """Of somebody else's browser, which has the verifier."""
    login = newcomer(acme)
    theirs = acme.directory.sign_in(depart(acme)[1], login)
    client, location = depart(acme)
    own = acme.directory.sign_in(location, login)
    answer: TestResponse = client.get(CALLBACK, query_string=own | {"code": theirs["code"]})
    return answer


def code_of_another_directory(acme: Guest, globex: Guest) -> TestResponse:
    theirs = globex.directory.sign_in(depart(globex)[1], "alice")
    client, location = depart(acme)
    own = acme.directory.sign_in(location, newcomer(acme))
    answer: TestResponse = client.get(CALLBACK, query_string=own | {"code": theirs["code"]})
    return answer


def mixed_up_issuer(acme: Guest, globex: Guest) -> TestResponse:
    """The other directory's whole answer, which names itself (RFC 9207), to acme's question."""
    theirs = globex.directory.sign_in(depart(globex)[1], "alice")
    client, location = depart(acme)
    own = acme.directory.sign_in(location, newcomer(acme))
    answer: TestResponse = client.get(CALLBACK, query_string=theirs | {"state": own["state"]})
    return answer


def wrong_secret(acme: Guest, _: Guest) -> TestResponse:
    login = newcomer(acme)
    acme.directory.publish(client_secret="another one")
    return sign_in(acme, login)


def declined(acme: Guest, _: Guest) -> TestResponse:
    client, location = depart(acme)
    back = acme.directory.sign_in(location, newcomer(acme), consents=False)
    answer: TestResponse = client.get(CALLBACK, query_string=back)
    return answer


ANOTHER = str(ids.new_id())
MISUSED: dict[str, tuple[Callable[[Guest, Guest], TestResponse], str]] = {
    "no tid": (claiming(tid=None), "missing_required_claim"),
    "another tid": (claiming(tid=ANOTHER), "wrong_directory"),
    "no oid": (claiming(oid=None), "missing_required_claim"),
    "an oid that is none": (claiming(oid="ursula"), "bad_oid"),
    "no nbf": (claiming(nbf=None), "missing_required_claim"),
    "not good yet": (claiming(nbf=int(time.time()) + 86_400), "immature_signature"),
    "version 1": (claiming(ver="1.0"), "wrong_version"),
    "PS256": (signed_by("PS256"), "wrong_algorithm"),
    "HS256 by the secret": (signed_by("HS256"), "wrong_algorithm"),
    "an address elsewhere": (claiming(email="bob@example.com"), "not_provisioned"),
    "a code twice": (replayed_code, "invalid_grant"),
    "a code of another browser": (injected_code, "invalid_grant"),
    "a code of another directory": (code_of_another_directory, "invalid_grant"),
    "mixed-up issuers": (mixed_up_issuer, "mixed_up_issuer"),
    "a wrong secret": (wrong_secret, "invalid_client"),
    "consent declined": (declined, "access_denied"),
}


@pytest.fixture(scope="module")
def globex(second_app: Flask, second_url: str) -> Guest:
    return settle(second_app, SecondDirectory(second_url))


@pytest.mark.parametrize("name", MISUSED)
def test_a_misused_sign_in_is_refused(name: str, acme: Guest, globex: Guest) -> None:
    misuse, reason = MISUSED[name]
    answer = misuse(acme, globex)
    assert answer.status_code == 403, answer.text
    assert "access_token" not in answer.get_json()
    with platform_session() as session:
        newest = session.scalars(
            select(PlatformEntry)
            .where(
                PlatformEntry.type == "sso.login_refused",
                PlatformEntry.tenant_id == acme.house.id,
            )
            .order_by(PlatformEntry.id.desc())
        ).first()
    assert newest is not None
    assert newest.target == reason
    assert newest.request_id == answer.headers["X-Request-ID"]
