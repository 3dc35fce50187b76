"""The header Idempotency-Key: a POST that is repeated has one effect and one answer.

After draft-ietf-httpapi-idempotency-key-header-07. A key is reserved in a short transaction before
the work begins, and its answer is written by the transaction that does the work: whoever dies in
between leaves a key whose lease runs out, and whoever dies behind it an answer to repeat.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, cast
from uuid import UUID

from flask import Flask, Response, current_app, request
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core import ids
from app.core.caller import Caller
from app.core.errors import AppError, BadRequest, Conflict, Unprocessable
from app.core.multipart import IncomingFile
from app.core.secrets import SecretBox

logger = logging.getLogger(__name__)

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
_LONGEST: Final = 255
# A string (RFC 8941, section 3.3.3), as the draft has it; or the same without quotes, as most send.
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"\Z')
_BARE: Final = re.compile(r'[^\x00-\x20\x7f-\U0010ffff",;\\]+\Z')
_ESCAPED: Final = re.compile(r"\\(.)")
# What an answer says beside its body. All else is said anew of each answer.
_HEADERS: Final = ("Content-Type", "ETag", "Location")


class KeyInvalid(BadRequest):
    """The Idempotency-Key is no string of 1 to 255 visible ASCII characters.

    Send a new random one, such as a UUID, with each new request.
    """

    code = "idempotency_key_invalid"


class KeyInUse(Conflict):
    """The first request with this Idempotency-Key is still running.

    Repeat the same request after the seconds in Retry-After.
    """

    code = "idempotency_key_in_use"

    def __init__(self, *, wait: int = 1) -> None:
        super().__init__("A request with this Idempotency-Key is running; ask again in a moment.")
        self.retry_after = max(1, wait)


class KeyReused(Unprocessable):
    """The Idempotency-Key was used for another request, with another address or body.

    Send the request with a key of its own.
    """

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key belongs to another request; send a new key.")


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A key in somebody's hands: the ``attempt``-th that has it, while its lease lasts.

    With an ``answer`` there is nothing to do any more. ``id`` stays the same over all attempts.
    """

    id: UUID
    attempt: int
    lease_seconds: float
    content: bytes | None = None
    answer: str | None = None


class Keys(Protocol):
    """Where keys are kept: in the session's own database, for its caller."""

    def reserve(
        self, session: Session, caller: Caller, *, key: bytes, fingerprint: bytes
    ) -> Reservation:
        """The key, new or taken over from one that died, or the answer that it has.

        Raises:
            KeyInUse, KeyReused: it is another's, or another request's.
        """
        ...

    def renew(self, session: Session, held: Reservation) -> None: ...

    def answer(
        self, session: Session, held: Reservation, *, answer: str, content: bytes | None
    ) -> None:
        """Raises KeyInUse where another has taken the key over."""
        ...

    def give_back(self, session: Session, held: Reservation, *, forget: bool) -> None:
        """Forgets the key, or leaves it to the next attempt; not one that has an answer."""
        ...


class Once:
    """One request that is done once, however often it is sent; without a key, each time.

    Work in several transactions takes it from the edge. ``id`` is for what the work makes: a later
    attempt has the same. ``remember`` belongs into the last transaction of the work.
    """

    answer: Response | None = None

    @cached_property
    def id(self) -> UUID:
        return ids.new_id()

    def begin(self) -> None:
        """Takes the key, or finds its answer."""

    def remember(self, session: Session, result: object) -> None:
        """Keeps the answer with the key, in the session's transaction."""

    def end(self, response: Response) -> Response:
        """The answer as it is kept."""
        return response

    def fail(self, error: BaseException) -> None:
        """Leaves it to the next attempt."""


class OnceByKey(Once):
    """The same for a request with a key."""

    def __init__(
        self,
        key: str,
        *,
        caller: Caller,
        body: bytes,
        file: IncomingFile | None,
        open_session: Callable[[], AbstractContextManager[Session]],
        dump: Callable[[object], Response],
    ) -> None:
        self._caller, self._open, self._dump = caller, open_session, dump
        self._key = hashlib.sha256(key.encode()).digest()
        self._fingerprint = _fingerprint(body, file)
        self._file, self._arrived = file, hashlib.sha256()
        self._remembered: Response | None = None

    def begin(self) -> None:
        with self._open() as session:
            self._held = _keys().reserve(
                session, self._caller, key=self._key, fingerprint=self._fingerprint
            )
        self.id = self._held.id
        if self._held.answer is not None:
            self._require_same_file()
            self.answer = _thawed(_answers().open(self._held.answer, context=self._context))
        elif self._file is not None:
            self._renewed_at = time.monotonic()
            self._file.observe = self._observe

    def remember(self, session: Session, result: object) -> None:
        session.flush()  # what was written says what it is now
        response = self._dump(result)
        _keys().answer(
            session,
            self._held,
            answer=_answers().seal(_frozen(response), context=self._context),
            content=None if self._file is None else self._arrived.digest(),
        )
        self._remembered = response

    def end(self, response: Response) -> Response:
        if self._remembered is None:
            with self._open() as session:
                self.remember(session, response)
        return self._remembered or response

    def fail(self, error: BaseException) -> None:
        """What was refused may come again in another form; what broke off goes on as it was."""
        refused = isinstance(error, AppError) and error.status < AppError.status
        with self._open() as session:
            _keys().give_back(session, self._held, forget=refused)

    @property
    def _context(self) -> str:
        return f"idempotency/{self._caller.user_id}/{self._caller.tenant_id}/{self.id}"

    def _require_same_file(self) -> None:
        if self._file is not None:
            for chunk in self._file:
                self._arrived.update(chunk)
            if self._arrived.digest() != self._held.content:
                raise KeyReused

    def _observe(self, chunk: bytes) -> None:
        self._arrived.update(chunk)
        if time.monotonic() > self._renewed_at + self._held.lease_seconds / 3:
            self._renewed_at = time.monotonic()
            with self._open() as session:
                _keys().renew(session, self._held)


def give_back(once: Once, error: BaseException) -> None:
    """Leaves it to the next attempt, if that can be said just now."""
    try:
        once.fail(error)
    except (AppError, SQLAlchemyError):
        logger.warning("an idempotency key was not given back; its lease will run out")


def given_key() -> str | None:
    """What the request's header says; None where it has none.

    Raises:
        KeyInvalid: it is no key.
    """
    raw = request.headers.get(HEADER)
    if raw is None:
        return None
    quoted = _QUOTED.match(raw.strip())
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else raw.strip()
    if len(key) > _LONGEST or not (quoted or _BARE.match(key)):
        raise KeyInvalid(f"Send 1 to {_LONGEST} visible ASCII characters as Idempotency-Key.")
    return key


def init_app(app: Flask, keys: Keys, answers: SecretBox) -> None:
    """``answers`` seals what is kept with the keys."""
    app.extensions["idempotency"] = keys
    app.extensions["idempotency_answers"] = answers


def _keys() -> Keys:
    return cast("Keys", current_app.extensions["idempotency"])


def _answers() -> SecretBox:
    return cast("SecretBox", current_app.extensions["idempotency_answers"])


def _fingerprint(body: bytes, file: IncomingFile | None) -> bytes:
    """Of all that makes it this request, but for a file's bytes, which nobody has read yet."""
    parts = [
        request.method,
        request.path,
        request.query_string.decode("latin-1"),
        request.headers.get("If-Match"),
        None if file is None else [file.name, file.content_type],
    ]
    return hashlib.sha256(json.dumps(parts).encode() + b"\n" + body).digest()


def _frozen(response: Response) -> str:
    headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    body = response.get_data(as_text=True)
    return json.dumps({"status": response.status_code, "headers": headers, "body": body})


def _thawed(answer: str) -> Response:
    kept = json.loads(answer)
    response = Response(kept["body"], status=kept["status"], headers=kept["headers"])
    response.headers[REPLAYED] = "true"
    return response
