"""Keeps pools sound: what died while it lay idle is found, what was changed is changed back."""

import select
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

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
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _check(connection: Any, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is None:
            return
        long_idle = time.monotonic() - idle_since > PING_AFTER_IDLE_SECONDS
        if (long_idle or _readable(connection)) and not _answers(engine, connection):
            raise DisconnectionError("the server closed this connection")


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
