"""Counts what a request makes the server do, where a stopwatch would only guess."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app.core.db import db
from app.domains.identity.service.passwords import Passwords


@contextmanager
def work(app: Flask) -> Iterator[list[str]]:
    """The statements to the main database and the hashings of passwords, in order."""
    done: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        done.append(statement)

    def counted(name: str) -> Any:
        original = getattr(Passwords, name)

        def call(self: Passwords, *arguments: Any) -> Any:
            done.append(name)
            return original(self, *arguments)

        return call

    with app.app_context():
        engine = db.engine
    with pytest.MonkeyPatch.context() as patch:
        for name in ("hash", "matches"):
            patch.setattr(Passwords, name, counted(name))
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield done
        finally:
            event.remove(engine, "before_cursor_execute", note)
