"""Clients that write, and note what they were told."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import requests

from tests.faults.journal import HANGS_AFTER, Journal, Tenant

_MANY: Final = 40
_PAUSE_AFTER_REFUSAL: Final = 0.1
_DOCUMENTS: Final = "/api/tenants/{tenant_id}/documents"
_ONE: Final = _DOCUMENTS + "/{document_id}"


class Writer(threading.Thread):
    """One person of one tenant. Files are looked into by jobs, so there are few of them.

    Each request has a connection of its own: one that is kept may be ended by the server just when
    the next request leaves, which a balancer sends once more and a client cannot.
    """

    def __init__(
        self,
        url: str,
        tenant: Tenant,
        journal: Journal,
        *,
        files_every: float,
        pause: float,
    ) -> None:
        super().__init__(name=f"writer of {tenant.house.slug}", daemon=True)
        self._url = url
        self._tenant = tenant
        self._journal = journal
        self._files_every = files_every
        self._pause = pause
        self._next_file = 0.0
        self._documents: list[str] = []
        self._stopping = threading.Event()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update(tenant.person.headers | {"Connection": "close"})
        self._random = random.Random(tenant.canary)

    def run(self) -> None:
        with self._session:
            while not self._stopping.is_set():
                went_well = self._round()
                self._stopping.wait(self._pause if went_well else _PAUSE_AFTER_REFUSAL)

    def end(self) -> None:
        self._stopping.set()

    def _round(self) -> bool:
        """Whether all went well."""
        if time.monotonic() >= self._next_file or not self._documents:
            self._next_file = time.monotonic() + self._files_every
            if not self._upload() and not self._documents:
                return False
        some = self._random.sample(self._documents, min(_MANY, len(self._documents)))
        one = some[0]
        tag = f"{self._tenant.canary}-{uuid4().hex[:8]}"
        # One after the other, and none after a failure: to take away a tag that was never given is
        # acknowledged as well, and changes nothing.
        return (
            self._tag("tag", some, tag)
            and self._tag("untag", some, tag)
            and self._rename(one)
            and self._into_the_bin_and_back(one)
            and self._list()
        )

    def _upload(self) -> bool:
        content = f"{self._tenant.canary} {uuid4()}".encode()
        file = (f"{self._tenant.canary}.txt", content, "text/plain")
        answer = self._send("POST", _DOCUMENTS, files={"file": file})
        if answer is None or answer.status_code != 201:
            return False
        document = answer.json()["id"]
        self._documents.append(document)
        self._note(self._journal.made, document)
        return True

    def _tag(self, action: str, documents: Sequence[str], tag: str) -> bool:
        body = {"action": action, "ids": list(documents), "tags": [tag]}
        answer = self._send("POST", _DOCUMENTS + "/bulk", json=body)
        if answer is None or answer.status_code != 200:
            return False
        done = [each["id"] for each in answer.json()["results"] if each["status"] == 200]
        for document in done:
            self._note(self._journal.tagged, (document, f"{action} {tag}"))
        return len(done) == len(documents)

    def _rename(self, document: str) -> bool:
        name = f"{self._tenant.canary}-{uuid4().hex[:8]}.txt"
        answer = self._send("PATCH", _ONE, document, json={"name": name})
        if answer is None or answer.status_code != 200:
            return False
        self._note(self._journal.renamed, (document, name))
        return True

    def _into_the_bin_and_back(self, document: str) -> bool:
        """Where only the first half is sure, the document is used no more."""
        answer = self._send("DELETE", _ONE, document)
        if answer is not None and answer.status_code == 204:
            self._note(self._journal.binned, document)
            back = self._send("POST", _ONE + "/restore", document)
            if back is not None and back.status_code == 200:
                return True
        self._documents.remove(document)
        return False

    def _list(self) -> bool:
        answer = self._send("GET", _DOCUMENTS, params={"limit": 5})
        return answer is not None and answer.status_code == 200

    def _note(self, kind: dict[Tenant, list[Any]], what: object) -> None:
        with self._journal._lock:
            kind.setdefault(self._tenant, []).append(what)

    def _send(
        self, method: str, path: str, document: str = "", **sent: Any
    ) -> requests.Response | None:
        operation = f"{method} {path}"
        where = path.format(tenant_id=self._tenant.house.id, document_id=document)
        begun = time.monotonic()
        try:
            answer = self._session.request(method, self._url + where, timeout=HANGS_AFTER, **sent)
        except requests.RequestException as error:
            self._journal.broke_off(operation, error, time.monotonic() - begun)
            return None
        seconds = time.monotonic() - begun
        self._journal.answered(operation, answer.status_code, seconds, answer.text)
        return answer


@contextmanager
def writing(
    url: str,
    tenants: Sequence[Tenant],
    *,
    files_every: float = 1.0,
    pause: float = 0.2,
) -> Iterator[Journal]:
    """A writer for each, for the time of the block; the journal is whole when it has ended.

    Between its rounds of seven requests each pauses.
    """
    journal = Journal()
    how = {"files_every": files_every, "pause": pause}
    writers = [Writer(url, tenant, journal, **how) for tenant in tenants]
    for writer in writers:
        writer.start()
    try:
        yield journal
    finally:
        for writer in writers:
            writer.end()
        for writer in writers:
            writer.join(2 * HANGS_AFTER)
            assert not writer.is_alive(), f"the {writer.name} hangs"
