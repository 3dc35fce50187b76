"""People at addresses of their own; changing what the main database says of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from typing import Any

from sqlalchemy import Connection, Engine, event, update

from app.core import ids
from app.core.db import main_session
from app.domains.identity.models import User
from tests.cast import Person


def new_address() -> str:
    """A client's that no other test guesses from."""
    site = ids.new_id().hex[-8:]
    return str(IPv6Address(f"2001:db8:{site[:4]}:{site[4:]}::1"))


def change(person: Person, **values: Any) -> None:
    with main_session() as session:
        session.execute(update(User).where(User.id == person.user_id).values(**values))


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent to the database inside the block."""
    seen: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
