"""Signed links over HTTP, from either store, through the proxy that docs/links.md describes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests
from flask import Flask

from app.integrations.storage import Link, Storage
from app.settings import Settings
from embedded.ports import LOOPBACK, free_port
from tests.cast import House, Person, new_house, new_person
from tests.domains.documents.files import upload
from tests.domains.documents.products import product
from tests.domains.documents.test_direct_uploads import complete, reserve, send
from tests.integrations.proxies import documented_proxy
from tests.integrations.stores import KINDS, client, s3_settings

CONTENT = bytes(range(256)) * 500


@pytest.fixture(scope="module", params=KINDS)
def own(
    request: pytest.FixtureRequest,
    app: Flask,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    server_urls: dict[str, str],
) -> Iterator[Flask]:
    """Clients see nginx's address; I/O goes past it."""
    folder: Path = tmp_path_factory.mktemp("links")
    port = free_port()
    upstream = f"http://{LOOPBACK}:{port}"
    if request.param == "s3":
        upstream = s3_settings(server_urls["s3"])["s3_endpoint_url"]
    with documented_proxy(folder / "nginx", upstream) as proxy:
        public = {"disk": "public_url", "s3": "s3_public_url"}[request.param]
        with product(
            request.param,
            settings,
            folder / "store",
            server_urls["s3"],
            port=port,
            **{public: proxy.url},
        ) as own:
            yield own


@pytest.fixture(scope="module")
def owner(own: Flask) -> Person:
    with own.app_context():
        return new_person(own, "Alice")


@pytest.fixture(scope="module")
def house(own: Flask, owner: Person) -> House:
    with own.app_context():
        return new_house("links", owner)


@pytest.fixture
def someone() -> Iterator[requests.Session]:
    with client() as session:
        yield session


def link_to(owner: Person, house: House, document: dict[str, Any], **query: Any) -> str:
    path = f"{house.documents}/{document['id']}/download-url"
    url: str = owner.get(path, query_string=query).get_json()["url"]
    return url


@pytest.fixture(scope="module")
def document(owner: Person, house: House) -> dict[str, Any]:
    return upload(owner, house, CONTENT, "plans.bin", "application/octet-stream")


def test_anybody_with_the_link_reads_the_bytes(
    owner: Person, house: House, document: dict[str, Any], someone: requests.Session
) -> None:
    url = link_to(owner, house, document)
    answer = someone.get(url, timeout=10)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="plans.bin"')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    part = someone.get(url, headers={"Range": "bytes=256-258"}, timeout=10)
    assert (part.status_code, part.content) == (206, b"\x00\x01\x02")


def test_a_changed_link(
    owner: Person, house: House, document: dict[str, Any], someone: requests.Session
) -> None:
    url = link_to(owner, house, document)
    parts = urlsplit(url)
    signed = parts.query or parts.path.rpartition("/")[2]
    for place in range(len(signed) // 2, len(signed) - 1, max(1, len(signed) // 17)):
        if not signed[place].isalnum():
            continue
        changed = signed[:place] + ("a" if signed[place] != "a" else "b") + signed[place + 1 :]
        # A parameter that has another name now is missing, which S3 calls a bad request.
        assert someone.get(url.replace(signed, changed), timeout=10).status_code in {400, 403}
    signature = signed[:-4] + ("0000" if signed[-4:] != "0000" else "1111")
    assert someone.get(url.replace(signed, signature), timeout=10).status_code == 403
    assert someone.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize("host", ["files.example.com", "localhost", "127.0.0.1:1"])
def test_a_host_that_was_rewritten(
    owner: Person,
    house: House,
    document: dict[str, Any],
    someone: requests.Session,
    host: str,
) -> None:
    url = link_to(owner, house, document)
    assert someone.get(url, headers={"Host": host}, timeout=10).status_code == 403


def test_a_link_whose_time_is_over(
    owner: Person, house: House, document: dict[str, Any], someone: requests.Session
) -> None:
    url = link_to(owner, house, document, expires_in=1)
    deadline = time.monotonic() + 20
    while (status := someone.get(url, timeout=10).status_code) == 200:
        assert time.monotonic() < deadline, "it does not end"
    assert status == 403


NAMES = {
    "日本.txt": "filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt",
    'say "hi" 100%.txt': "filename*=UTF-8''say%20%22hi%22%20100%25.txt",
    "é" * 127: "filename*=UTF-8''" + quote("é" * 127),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(owner: Person, house: House, someone: requests.Session, name: str) -> None:
    content = name.encode()
    begun = reserve(owner, house, len(content), name=name)
    send(begun, content)
    made = complete(owner, house, begun).get_json()["document"]
    answer = someone.get(link_to(owner, house, made), timeout=10)
    assert answer.content == content
    shown = answer.headers["Content-Disposition"]
    assert shown.endswith(NAMES[name])
    assert shown.count('"') == 2


@pytest.mark.parametrize("content_type", ["image/svg+xml", "text/html", "application/xhtml+xml"])
def test_what_could_run_is_never_shown(
    own: Flask,
    owner: Person,
    house: House,
    someone: requests.Session,
    content_type: str,
) -> None:
    made = upload(owner, house, b"<svg onload='alert(1)'/>", "x.svg", content_type)
    answer = someone.get(link_to(owner, house, made), timeout=10)
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")


def test_inline_is_for_harmless_types(own: Flask) -> None:
    """As the store signs it; the header is inside the signed part on S3."""
    store: Storage = own.extensions["storage"]
    key = "tenants/tenant_acme/files/aa/bb/x"
    links = [
        Link(key, "a\r\nSet-Cookie: b", content_type, inline=True)
        for content_type in ("image/png", "image/svg+xml", "text/html")
    ]
    urls = [store.sign(link, expires_in=60) for link in links]
    if "response-content-disposition=" in urls[0]:
        shown = [url.split("response-content-disposition=")[1][:10] for url in urls]
        assert shown == ["inline%3B%", "attachment", "attachment"]
        assert not any("%0D" in url.replace("%250D", "") for url in urls)


def test_a_link_to_bytes_that_are_gone(
    own: Flask, owner: Person, house: House, someone: requests.Session
) -> None:
    made = upload(owner, house, b"soon gone")
    url = link_to(owner, house, made)
    own.extensions["storage"].delete_all(f"tenants/{house.database}/files/{made['digest'][7:9]}")
    assert someone.get(url, timeout=10).status_code == 404
