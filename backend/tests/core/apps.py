"""Further instances of the application, as other processes would be."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flask import Flask
from pydantic import SecretStr

from app.core import db
from app.factory import create_app
from app.settings import Environment, Settings
from app.tenancy.manager import current_manager
from tests.cast import Person

# Longer than anything waits for a server that is silent.
_PATIENCE_SECONDS: Final = 15.0


@contextmanager
def another_app(settings: Settings, **changes: Any) -> Iterator[Flask]:
    """An instance with these settings; its connections are closed at the end."""
    app = create_app(settings.model_copy(update=changes))
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    try:
        yield app
    finally:
        close(app)


def close(app: Flask) -> None:
    """Not before its threads have given them back: a connection in use is closed by nobody."""
    for thread in threading.enumerate():
        if thread.name.startswith("background: "):
            thread.join(_PATIENCE_SECONDS)
    with app.app_context():
        for engine in db.db.engines.values():
            engine.dispose()
        current_manager().engine.dispose()
        app.extensions["redis"].close()
        if app.extensions["rates"] is not None:
            app.extensions["rates"].redis.close()


def unconnected_app() -> Flask:
    """An instance to look at: no server of its settings exists."""
    nowhere = SecretStr("postgresql://nobody@localhost:1/nowhere")
    return create_app(
        Settings(
            environment=Environment.TESTING,
            installation_id="nowhere",
            secret_key=SecretStr("x" * 32),
            secrets_keys=(SecretStr("A" * 43 + "="),),
            database_url=nowhere,
            provisioner_url=nowhere,
            redis_url=SecretStr("redis://localhost:1/0"),
            storage_path=Path("/nowhere"),
            password_hash_memory_kib=32,
            password_hash_passes=1,
        )
    )


def elsewhere(person: Person, app: Flask) -> Person:
    """The same person with the same tokens, whose requests reach another instance."""
    there = Person(app, name=person.name, email=person.email, user_id=person.user_id)
    there.tokens = person.tokens
    return there
