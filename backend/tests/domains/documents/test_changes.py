"""Changing a document's properties: who may, on which revision, to what."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from tests.cast import Cast
from tests.core.answers import refusal
from tests.domains.documents.files import upload
from tests.domains.documents.trail import told


def one_of(cast: Cast, who: str = "alice") -> str:
    made = upload(getattr(cast, who), cast.acme, b"plans", "plans.txt")
    return f"{cast.acme.documents}/{made['id']}"


def test_mallory_changes_nothing(cast: Cast) -> None:
    path = one_of(cast)
    refusal(cast.mallory.patch(path, json={"name": "mine.txt"}), 404, "not_found")
    assert cast.bob.get(path).get_json()["name"] == "plans.txt"


def test_bob_looks_ursula_manages_her_own_ada_all(cast: Cast) -> None:
    hers, alices = one_of(cast, "ursula"), one_of(cast)
    refusal(cast.bob.patch(hers, json={"name": "b"}), 403, "forbidden")
    refusal(cast.ursula.patch(alices, json={"name": "b"}), 403, "not_your_document")
    assert cast.ursula.patch(hers, json={"name": "u"}).get_json()["name"] == "u"
    assert cast.ada.patch(hers, json={"name": "a"}).get_json()["name"] == "a"


def test_what_changed_is_told(app: Flask, cast: Cast) -> None:
    path = one_of(cast)
    before = cast.alice.get(path).get_json()
    after = cast.alice.patch(path, json={"name": "new.txt", "tags": ["B", "a", "b"]}).get_json()
    assert after == before | {
        "name": "new.txt",
        "tags": ["a", "b"],
        "revision": before["revision"] + 1,
        "updated_at": after["updated_at"],
    }
    assert after["updated_at"] > before["updated_at"]
    (_, _), (kind, details) = told(app, cast.acme, before["id"])
    assert kind == "document.updated"
    assert details["changes"] == {"name": ["plans.txt", "new.txt"], "tags": [[], ["a", "b"]]}


def test_a_change_to_the_same_is_none(app: Flask, cast: Cast) -> None:
    path = one_of(cast)
    before = cast.alice.get(path).get_json()
    assert cast.alice.patch(path, json={"name": "plans.txt", "tags": []}).get_json() == before
    assert len(told(app, cast.acme, before["id"])) == 1


def test_the_etag_is_the_revision(cast: Cast) -> None:
    path = one_of(cast)
    answer = cast.bob.get(path)
    assert answer.headers["ETag"] == f'"{answer.get_json()["revision"]}"'
    again = cast.bob.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    changed = cast.alice.patch(path, json={"tags": ["x"]})
    assert changed.headers["ETag"] != answer.headers["ETag"]
    stale = {"If-None-Match": answer.headers["ETag"]}
    assert cast.bob.get(path, headers=stale).headers["ETag"] == changed.headers["ETag"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("tag", ['"999"', 'W/"1"', '"*"', "", '"'])
def test_a_change_of_another_revision_is_refused(cast: Cast, method: str, tag: str) -> None:
    path = one_of(cast)
    body = {"json": {"name": "new.txt"}} if method == "PATCH" else {}
    answer = cast.alice.send(method, path, headers={"If-Match": tag}, **body)
    refusal(answer, 412, "precondition_failed")
    assert cast.bob.get(path).get_json()["revision"] == 1


@pytest.mark.parametrize("tag", ['"1"', "*", '"0", "1"', None])
def test_a_change_of_this_revision(cast: Cast, tag: str | None) -> None:
    path = one_of(cast)
    headers = {} if tag is None else {"If-Match": tag}
    assert cast.alice.patch(path, json={"tags": ["x"]}, headers=headers).status_code == 200


def test_of_many_who_saw_the_same_revision_one_changes_it(cast: Cast) -> None:
    path = one_of(cast)

    def change(number: int) -> int:
        headers = {"If-Match": '"1"'}
        return cast.alice.patch(path, json={"name": str(number)}, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(change, range(4))) == [200, 412, 412, 412]
    assert cast.bob.get(path).get_json()["revision"] == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "_schema"),
        ({"name": ""}, "name"),
        ({"name": "../"}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\u202eb"}, "name"),
        ({"name": None}, "name"),
        ({"tags": "x"}, "tags"),
        ({"tags": [""]}, "tags"),
        ({"tags": ["x" * 51]}, "tags"),
        ({"tags": ["a\nb"]}, "tags"),
        ({"tags": [str(n) for n in range(51)]}, "tags"),
        ({"size": 5}, "size"),
        ({"owner_id": "me"}, "owner_id"),
    ],
)
def test_what_it_cannot_become(cast: Cast, body: dict[str, object], field: str) -> None:
    path = one_of(cast)
    problem = refusal(cast.alice.patch(path, json=body), 422)
    assert set(problem["errors"]) == {field}
    assert cast.bob.get(path).get_json()["revision"] == 1
