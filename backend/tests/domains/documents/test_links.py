"""Signed links: they open one document's bytes for anybody, until they expire."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from itsdangerous import URLSafeSerializer
from pydantic import SecretStr

from app.core import clock
from app.core.pages import current_cursors
from app.integrations.storage import DiskStorage, Link
from app.settings import Settings
from tests.cast import Cast
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.domains.documents.files import stored, upload


@pytest.fixture(scope="module")
def document(cast: Cast) -> dict[str, Any]:
    return upload(cast.alice, cast.acme, b"shared", "shared 日本.txt", "text/plain")


def link_of(cast: Cast, document: dict[str, Any], **query: object) -> str:
    """The path of a new link."""
    path = f"{cast.acme.documents}/{document['id']}/download-url"
    answer = cast.alice.get(path, query_string=query)
    assert answer.status_code == 200, answer.text
    url: str = answer.get_json()["url"]
    return url[url.index("/api/links/") :]


def test_mallory_gets_no_link(cast: Cast, document: dict[str, Any]) -> None:
    for house in (cast.acme, cast.globex):
        refusal(cast.mallory.get(f"{house.documents}/{document['id']}/download-url"), 404)


def test_anybody_with_the_link_reads_the_bytes(
    app: Flask, settings: Settings, cast: Cast, document: dict[str, Any]
) -> None:
    answer = cast.bob.get(f"{cast.acme.documents}/{document['id']}/download-url").get_json()
    assert answer["url"].startswith(settings.public_url + "/api/links/")
    path = answer["url"].removeprefix(settings.public_url)
    read = app.test_client().get(path, buffered=True)
    assert (read.status_code, read.data) == (200, b"shared")
    assert read.headers["Content-Type"].startswith("text/plain")
    assert "filename*=UTF-8''shared%20%E6%97%A5%E6%9C%AC.txt" in read.headers["Content-Disposition"]
    assert read.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(("asked", "seconds"), [(None, 3600), ("1", 1), ("86400", 86_400)])
def test_how_long_it_lives(
    cast: Cast, document: dict[str, Any], asked: str | None, seconds: int
) -> None:
    query = {} if asked is None else {"expires_in": asked}
    path = f"{cast.acme.documents}/{document['id']}/download-url"
    before = clock.now()
    answer = cast.alice.get(path, query_string=query).get_json()
    expires_at = datetime.fromisoformat(answer["expires_at"])
    span = timedelta(seconds=seconds)
    assert before + span <= expires_at <= clock.now() + span


@pytest.mark.parametrize(
    "asked", ["0", "-1", "86401", "1e3", "3600.5", "", "true", "hour", "9" * 400]
)
def test_how_long_it_cannot_live(cast: Cast, document: dict[str, Any], asked: str) -> None:
    path = f"{cast.acme.documents}/{document['id']}/download-url"
    problem = refusal(cast.alice.get(path, query_string={"expires_in": asked}), 422)
    assert set(problem["errors"]) == {"expires_in"}


def test_every_changed_character_closes_it(
    app: Flask, cast: Cast, document: dict[str, Any]
) -> None:
    path = link_of(cast, document)
    client, start = app.test_client(), len("/api/links/")
    # The last character of a base64 text may hold bits that mean nothing.
    for place in range(start, len(path) - 1, 7):
        other = "A" if path[place] != "A" else "B"
        refusal(client.get(path[:place] + other + path[place + 1 :]), 403, "link_invalid")
    for forged in (path[:-5], path + "AAAA", path + ".AAAA", path[: start + 1]):
        assert client.get(forged).status_code == 403
    assert client.get(path * 50).status_code == 404


@pytest.mark.parametrize("token", ["forged", "...", "%ff%fe", "%F0%9F%92%A3", "A" * 8000, "-"])
def test_a_made_up_link(app: Flask, token: str) -> None:
    refusal(app.test_client().get(f"/api/links/{token}"), 403, "link_invalid")


def signed(app: Flask, settings: Settings, link: Link, *, expires_in: int) -> str:
    """As the store signs, also what no route would let us ask for."""
    storage: DiskStorage = app.extensions["storage"]
    return storage.sign(link, expires_in=expires_in).removeprefix(settings.public_url)


def test_an_expired_link(
    app: Flask, settings: Settings, cast: Cast, document: dict[str, Any]
) -> None:
    key = max(stored(settings, cast.acme), key=lambda path: path.stat().st_mtime_ns)
    path = key.relative_to(settings.storage_path).as_posix()
    link = Link(path, "a.txt", "text/plain", subject=document["id"])
    good = signed(app, settings, link, expires_in=60)
    assert app.test_client().get(good, buffered=True).status_code == 200
    for seconds in (0, -1, -86_400):
        over = signed(app, settings, link, expires_in=seconds)
        problem = refusal(app.test_client().get(over), 403, "link_invalid")
        assert "expired" in problem["detail"]


def test_a_link_is_signed_with_our_key_and_for_this_purpose(
    app: Flask, settings: Settings, cast: Cast, document: dict[str, Any]
) -> None:
    content = ["tenants/x/files/aa/bb/cc", "a.txt", "text/plain", 2**40]
    for key, salt in (("another key of 32 characters or so", "file-link"), (None, "cursor")):
        secret = key or settings.secret_key.get_secret_value()
        token = URLSafeSerializer(secret, salt=salt).dumps(content)
        refusal(app.test_client().get(f"/api/links/{token}"), 403, "link_invalid")
    with app.app_context():
        cursor = current_cursors().dump(cast.acme.id)
    refusal(app.test_client().get(f"/api/links/{cursor}"), 403, "link_invalid")


def test_another_installation_does_not_open_it(
    settings: Settings, cast: Cast, document: dict[str, Any]
) -> None:
    path = link_of(cast, document)
    foreign = SecretStr("another installation's secret key of some length")
    with another_app(settings) as second, another_app(settings, secret_key=foreign) as other:
        assert second.test_client().get(path, buffered=True).status_code == 200
        refusal(other.test_client().get(path), 403, "link_invalid")
        assert elsewhere(cast.alice, other).get("/api/users/me").status_code == 200


def test_a_link_opens_its_own_document_alone(app: Flask, cast: Cast) -> None:
    theirs = upload(cast.mallory, cast.globex, b"secret of globex")
    mine = upload(cast.alice, cast.acme, b"secret of acme")
    answer = app.test_client().get(link_of(cast, mine), buffered=True)
    assert answer.data == b"secret of acme"
    refusal(cast.alice.get(f"{cast.acme.documents}/{theirs['id']}/download-url"), 404)


def test_a_link_closes_with_its_document_although_another_has_the_same_bytes(
    app: Flask, cast: Cast
) -> None:
    mine, other = (upload(cast.alice, cast.acme, b"the same bytes twice") for _ in range(2))
    closed, open_ = link_of(cast, mine), link_of(cast, other)
    assert cast.alice.delete(f"{cast.acme.documents}/{mine['id']}").status_code == 204
    refusal(app.test_client().get(closed), 404)
    assert app.test_client().get(open_, buffered=True).status_code == 200
    assert cast.alice.post(f"{cast.acme.documents}/{mine['id']}/restore").status_code == 200
    assert app.test_client().get(closed, buffered=True).status_code == 200


def test_a_link_without_a_document_opens_nothing(
    app: Flask, settings: Settings, cast: Cast, document: dict[str, Any]
) -> None:
    key = max(stored(settings, cast.acme), key=lambda path: path.stat().st_mtime_ns)
    link = Link(key.relative_to(settings.storage_path).as_posix(), "a.txt", "text/plain")
    refusal(app.test_client().get(signed(app, settings, link, expires_in=60)), 404)


def test_a_link_to_a_deleted_document_whose_bytes_are_gone(
    app: Flask, settings: Settings, cast: Cast
) -> None:
    before = stored(settings, cast.acme)
    made = upload(cast.alice, cast.acme, b"soon gone, and nowhere else")
    path = link_of(cast, made)
    (file,) = stored(settings, cast.acme) - before
    assert cast.alice.delete(f"{cast.acme.documents}/{made['id']}").status_code == 204
    file.unlink()
    refusal(app.test_client().get(path), 404)


def test_a_link_is_for_one_host(app: Flask, cast: Cast, document: dict[str, Any]) -> None:
    path = link_of(cast, document)
    for host in ("127.0.0.1", "localhost:4999", "localhost.example.com", "example.com"):
        answer = app.test_client().get(path, headers={"Host": host})
        assert "localhost" in refusal(answer, 403, "link_invalid")["detail"]
    answer = app.test_client().get(path, headers={"Host": "LocalHost"}, buffered=True)
    assert answer.status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_link_only_reads(app: Flask, cast: Cast, document: dict[str, Any], method: str) -> None:
    refusal(app.test_client().open(link_of(cast, document), method=method), 405)
