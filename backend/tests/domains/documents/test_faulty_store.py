"""An S3 server behind a wire that breaks: no document without verified bytes, and no waiting."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from app.core.errors import AppError
from app.integrations.storage import Storage, StorageUnavailable
from app.settings import Settings
from tests.cast import House, Person, new_house, new_person
from tests.core.answers import refusal
from tests.domains.documents.files import send, upload
from tests.domains.documents.products import product
from tests.domains.documents.test_direct_uploads import complete, reserve
from tests.domains.documents.test_direct_uploads import send as put
from tests.integrations.faults import Fault, FaultProxy, faulty
from tests.integrations.stores import s3_settings

SMALL = os.urandom(100_000)
LARGE = os.urandom(20 * 1024**2)
# Two attempts of three seconds each, for a request or two.
_LONGEST = 30
AWAY = (Fault.ERROR, Fault.REFUSE, Fault.SILENT, Fault.RESET_SENT)


@pytest.fixture(scope="module")
def wire(server_urls: dict[str, str]) -> Iterator[FaultProxy]:
    parts = urlsplit(s3_settings(server_urls["s3"])["s3_endpoint_url"])
    with faulty(parts.hostname or "", parts.port or 0) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def own(
    wire: FaultProxy,
    app: Flask,
    settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
    server_urls: dict[str, str],
) -> Iterator[Flask]:
    """I/O goes through the wire; clients go past it."""
    given = s3_settings(server_urls["s3"])
    changes = {"s3_public_url": given["s3_endpoint_url"], "s3_endpoint_url": wire.url}
    folder: Path = tmp_path_factory.mktemp("unused")
    with product("s3", settings, folder, server_urls["s3"], **changes) as own:
        yield own


@pytest.fixture(scope="module")
def owner(own: Flask) -> Person:
    with own.app_context():
        return new_person(own, "Alice")


@pytest.fixture(scope="module")
def house(own: Flask, owner: Person) -> House:
    with own.app_context():
        return new_house("faulty", owner)


@pytest.fixture
def broken(wire: FaultProxy) -> Iterator[FaultProxy]:
    """Set ``fault`` and hang up; afterwards it is well again."""
    wire.passes = 40_000
    yield wire
    set_fault(wire, Fault.NONE)


def set_fault(wire: FaultProxy, fault: Fault) -> None:
    wire.fault = fault
    wire.hang_up()


def names(owner: Person, house: House) -> set[str]:
    return {document["name"] for document in owner.get(house.documents).get_json()["items"]}


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "in-parts"])
@pytest.mark.parametrize("fault", [*AWAY, Fault.CHANGE_SENT])
def test_uploading(
    broken: FaultProxy, owner: Person, house: House, fault: Fault, content: bytes
) -> None:
    before, seen = names(owner, house), broken.seen
    set_fault(broken, fault)
    start = time.monotonic()
    refused = send(owner, house, content, "broken.bin")
    assert time.monotonic() - start < _LONGEST
    refusal(refused, 503, "storage_unavailable")
    assert refused.headers["Retry-After"]
    assert broken.seen > seen, "the wire was used"
    assert names(owner, house) == before
    set_fault(broken, Fault.NONE)
    made = upload(owner, house, content, f"{fault.name}-{len(content)}")
    assert made["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.REFUSE, Fault.SILENT])
def test_downloading(broken: FaultProxy, owner: Person, house: House, fault: Fault) -> None:
    made = upload(owner, house, SMALL)
    path = f"{house.documents}/{made['id']}"
    set_fault(broken, fault)
    refused = owner.get(path + "/download")
    refusal(refused, 503, "storage_unavailable")
    assert refused.headers["Retry-After"]
    assert owner.get(path).status_code == 200
    assert owner.get(path + "/download-url").status_code == 200, "signing asks nobody"
    set_fault(broken, Fault.NONE)
    assert owner.get(path + "/download").data == SMALL


def test_a_store_that_answers_byte_by_byte(
    broken: FaultProxy, owner: Person, house: House, own: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of its reads takes a second, and all together would take an hour."""
    path = f"{house.documents}/{upload(owner, house, LARGE)['id']}/download"
    told: Settings = own.extensions["settings"]
    impatient = type(own.extensions["storage"])(told.model_copy(update={"s3_timeout": 1.0}))
    monkeypatch.setitem(own.extensions, "storage", impatient)
    start, broken.passes = time.monotonic(), 0
    set_fault(broken, Fault.TRICKLE)
    refused = owner.get(path)
    refusal(refused, 503, "storage_unavailable")
    assert refused.headers["Retry-After"]
    broken.passes = 1_000_000
    broken.hang_up()
    with own.test_client().get(path, headers=owner.headers) as answer:
        assert answer.status_code == 200
        with pytest.raises(StorageUnavailable):
            list(answer.iter_encoded())
    assert time.monotonic() - start < _LONGEST


def test_a_download_that_breaks_is_not_taken_for_whole(
    broken: FaultProxy, owner: Person, house: House, own: Flask
) -> None:
    made = upload(owner, house, LARGE)
    broken.passes = 15_000_000  # more than the buffers in between hold
    set_fault(broken, Fault.RESET_RECEIVED)
    path = f"{house.documents}/{made['id']}/download"
    received: list[bytes] = []
    with own.test_client().get(path, headers=owner.headers) as answer:
        assert (answer.status_code, answer.content_length) == (200, len(LARGE))
        with pytest.raises(StorageUnavailable):
            received.extend(answer.iter_encoded())
    arrived = b"".join(received)
    assert 0 < len(arrived) < len(LARGE)
    assert LARGE.startswith(arrived)


@pytest.mark.parametrize("fault", [*AWAY[:3], Fault.RESET_RECEIVED])
def test_completing_a_direct_upload(
    broken: FaultProxy, owner: Person, house: House, fault: Fault
) -> None:
    before = names(owner, house)
    content = os.urandom(200_000)
    begun = reserve(owner, house, len(content), name=f"direct-{fault.name}")
    put(begun, content)
    set_fault(broken, fault)
    refusal(complete(owner, house, begun), 503, "storage_unavailable")
    assert names(owner, house) == before
    set_fault(broken, Fault.NONE)
    assert complete(owner, house, begun).get_json()["document"]["size"] == len(content)


def test_bytes_that_change_on_their_way_back(
    broken: FaultProxy, owner: Person, house: House
) -> None:
    """What was announced is compared with what was read, so the wrong bytes become no document."""
    before = names(owner, house)
    content = os.urandom(200_000)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    begun = reserve(owner, house, len(content), digest=digest, name="changed")
    put(begun, content)
    set_fault(broken, Fault.CHANGE_RECEIVED)
    refusal(complete(owner, house, begun), 409, "upload_differs")
    set_fault(broken, Fault.NONE)
    assert names(owner, house) == before


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.REFUSE])
def test_every_verb_of_the_store_says_that_it_is_away(
    broken: FaultProxy, own: Flask, fault: Fault
) -> None:
    store: Storage = own.extensions["storage"]
    key = "tenants/tenant_acme/files/aa/bb/x"
    set_fault(broken, fault)
    acts: list[Any] = [
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: store.delete_all("tenants/tenant_acme"),
        lambda: store.move(key, key + "0"),
        lambda: store.create_multipart(key),
        lambda: store.parts(key, "upload"),
        lambda: store.complete_multipart(key, "upload"),
        lambda: store.abort_multipart(key, "upload"),
    ]
    for act in acts:
        with pytest.raises(AppError) as raised:
            act()
        assert (raised.value.status, raised.value.code) == (503, "storage_unavailable")
        assert raised.value.retry_after is not None


def test_a_bucket_that_is_away_is_no_empty_bucket(
    app: Flask,
    settings: Settings,
    tmp_path: Path,
    server_urls: dict[str, str],
) -> None:
    with product("s3", settings, tmp_path, server_urls["s3"]) as own:
        told: Settings = own.extensions["settings"]
    elsewhere = told.model_copy(update={"s3_bucket": "tenantry-nowhere"})
    store: Storage = type(own.extensions["storage"])(elsewhere)
    for act in (store.stat, store.open):
        with pytest.raises(StorageUnavailable, match="bucket is away"):
            act("tenants/tenant_acme/files/aa/bb/x")
