"""Keeps pools sound: what died while it lay idle is found, what was changed is changed back."""

import select
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

PING_AFTER_IDLE_SECONDS = 30.0


def watch(engine: Engine) -> None:
    """At checkout, look at the socket; ping only where it has something to say or was idle long.

    A server that ends a connection sends a message and FIN, so its socket is readable. What a
    firewall drops in silence is found by the ping. Who borrowed a connection for reads without a
    transaction gives it back as it was.
    """

    @event.listens_for(engine, "reset")
    def _restore(connection: Any, _record: Any, _state: Any) -> None:
        if connection.autocommit:
            connection.autocommit = False

    @event.listens_for(engine, "checkin")
    def _remember(_connection: Any, record: Any) -> None:
        begin_idling(record)

    @event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:
        if not _is_sound(engine, connection, record):
            raise DisconnectionError("the server closed this connection")


def sound_connection(engine: Engine, record: Any) -> Any:
    """The driver's connection of a record that was taken from the engine's pool; new if need be."""
    connection = record.get_connection()
    if _is_sound(engine, connection, record):
        return connection
    record.invalidate()
    return record.get_connection()


def begin_idling(record: ConnectionPoolEntry) -> None:
    """Said of a record that goes back to its pool."""
    record.info["idle_since"] = time.monotonic()


def _is_sound(engine: Engine, connection: Any, record: ConnectionPoolEntry) -> bool:
    idle_since = record.info.get("idle_since")
    if idle_since is None:
        return True
    long_idle = time.monotonic() - idle_since > PING_AFTER_IDLE_SECONDS
    return not (long_idle or _readable(connection)) or _answers(engine, connection)


def _readable(connection: Any) -> bool:
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN | select.POLLHUP)
        return bool(poll.poll(0))
    except Exception:  # noqa: BLE001  # a closed connection has no descriptor: the ping decides
        return True


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return bool(engine.dialect.do_ping(connection))
    except engine.dialect.loaded_dbapi.Error:
        return False
