"""Archives: written while they are sent, safe to unpack anywhere, whole or visibly broken."""

import io
import tracemalloc
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from app.domains.documents.errors import BytesMissing
from app.domains.documents.service.names import names_for_files
from app.settings import Settings
from tests.cast import Cast, House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.core.apps import another_app, elsewhere
from tests.core.live import running_api
from tests.domains.documents.files import stored, upload
from tests.domains.documents.trail import told

MIB = 1024**2


@pytest.fixture
def owner(context: Flask) -> Person:
    return new_person(context, "Alice")


@pytest.fixture
def house(context: Flask, owner: Person) -> House:
    return new_house("zips", owner)


def ask(person: Person, house: House, documents: list[dict[str, Any]]) -> TestResponse:
    ids = [each["id"] for each in documents]
    return person.post(f"{house.documents}/zip", json={"ids": ids})


def test_mallory_gets_none(cast: Cast) -> None:
    made = upload(cast.alice, cast.acme)
    refusal(ask(cast.mallory, cast.acme, [made]), 404, "not_found")
    refusal(ask(cast.mallory, cast.globex, [made]), 404, "document_not_found")
    assert ask(cast.bob, cast.acme, [made]).status_code == 200


def test_an_archive(app: Flask, owner: Person, house: House) -> None:
    documents = [
        upload(owner, house, b"one", "plans.txt"),
        upload(owner, house, b"two", "PLANS.txt"),
        upload(owner, house, b"", "日本.txt"),
        upload(owner, house, b"x" * 300_000, "big"),
    ]
    answer = ask(owner, house, documents)
    assert answer.mimetype == "application/zip"
    assert "documents.zip" in answer.headers["Content-Disposition"]
    assert "Content-Length" not in answer.headers
    with ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "plans.txt": b"one",
            "PLANS (2).txt": b"two",
            "日本.txt": b"",
            "big": b"x" * 300_000,
        }
    for document in documents:
        kind, details = told(app, house, document["id"])[-1]
        assert (kind, details["way"]) == ("document.downloaded", "zip")


@pytest.mark.parametrize(
    ("names", "safe"),
    [
        (["..", ".", "..."], ["_", "_ (2)", "_ (3)"]),
        (["../../etc/passwd", "/etc/passwd"], [".._.._etc_passwd", "_etc_passwd"]),
        (["C:\\x", "a\\b"], ["C__x", "a_b"]),
        (["con", "NUL.txt", "com1", "LPT9.tar.gz", "console"],
         ["_con", "_NUL.txt", "_com1", "_LPT9.tar.gz", "console"]),
        (["a", "A", "a", "a (2)"], ["a", "A (2)", "a (3)", "a (2) (2)"]),
        (["a.tar.gz"] * 2, ["a.tar.gz", "a.tar (2).gz"]),
        (["x. ", "x"], ["x", "x (2)"]),
        ([".env", ".env"], [".env", ".env (2)"]),
        (['a"b<c>d|e?f*g:h'], ["a_b_c_d_e_f_g_h"]),
        (["straße", "STRASSE"], ["straße", "STRASSE (2)"]),
    ],
)  # fmt: skip
def test_names_that_unpack_anywhere(names: list[str], safe: list[str]) -> None:
    assert names_for_files(names) == safe


def test_what_does_not_exist(owner: Person, house: House) -> None:
    made, nobody = upload(owner, house), str(uuid4())
    problem = refusal(ask(owner, house, [made, {"id": nobody}]), 404, "document_not_found")
    assert problem["errors"] == {"ids": [nobody]}
    for ids in ([], [made["id"]] * 2, ["x"]):
        refusal(owner.post(f"{house.documents}/zip", json={"ids": ids}), 422)


def test_the_budget(settings: Settings, owner: Person, house: House) -> None:
    with another_app(settings, max_zip_documents=2, max_zip_bytes=10) as small:
        there = elsewhere(owner, small)
        made = [upload(there, house, b"12345", name) for name in "abc"]
        assert ask(there, house, made[:2]).status_code == 200
        refusal(ask(there, house, made), 422, "zip_too_large")
        large = upload(there, house, b"123456", "d")
        refusal(ask(there, house, [made[0], large]), 422, "zip_too_large")


def test_bounded_memory(owner: Person, house: House, settings: Settings) -> None:
    made = upload(owner, house, bytes(40 * MIB), "large")
    headers = owner.headers
    tracemalloc.start()
    try:
        client = owner.app.test_client()
        path = f"{house.documents}/zip"
        with client.post(path, json={"ids": [made["id"]]}, headers=headers) as answer:
            size = sum(map(len, answer.iter_encoded()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 40 * MIB
    assert peak < 8 * MIB
    for path_of_file in stored(settings, house):
        path_of_file.unlink()


def test_the_first_that_is_lost_is_told(
    app: Flask, settings: Settings, owner: Person, house: House
) -> None:
    made = upload(owner, house)
    (file,) = stored(settings, house)
    file.unlink()
    refusal(ask(owner, house, [made]), 500, "bytes_missing")


@pytest.mark.parametrize("fault", ["gone", "cut"])
def test_one_that_is_lost_in_the_middle_breaks_off(
    settings: Settings, owner: Person, house: House, fault: str
) -> None:
    first = upload(owner, house, b"x" * 100_000, "first")
    before = stored(settings, house)
    second = upload(owner, house, b"second")
    (file,) = stored(settings, house) - before
    if fault == "gone":
        file.unlink()
    else:
        file.write_bytes(b"sec")
    client = owner.app.test_client()
    body = {"ids": [first["id"], second["id"]]}
    with client.post(f"{house.documents}/zip", json=body, headers=owner.headers) as answer:
        assert answer.status_code == 200
        with pytest.raises(BytesMissing):
            list(answer.iter_encoded())


def test_a_client_sees_that_an_archive_broke_off(
    settings: Settings, owner: Person, house: House, tmp_path: Path
) -> None:
    """Over gunicorn: the connection ends without the last chunk."""
    first = upload(owner, house, b"x" * 3_000_000, "first")
    before = stored(settings, house)
    second = upload(owner, house, b"second")
    for file in stored(settings, house) - before:
        file.unlink()
    with running_api(settings, tmp_path) as url, requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            f"{url}{house.documents}/zip",
            json={"ids": [first["id"], second["id"]]},
            headers=_signed_in(session, url, owner),
            stream=True,
            timeout=20,
        )
        assert answer.status_code == 200
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = answer.content


def _signed_in(session: requests.Session, url: str, person: Person) -> dict[str, str]:
    """The process has another address, and so issues its own tokens."""
    credentials = {"email": person.email, "password": "correct horse battery staple"}
    answer = session.post(f"{url}/api/auth/login", json=credentials, timeout=20)
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}
