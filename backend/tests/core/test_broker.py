"""What the jobs' broker says of a connection that is lost."""

from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from redis.exceptions import ConnectionError as Disconnected

from app.core import broker


def test_a_lost_channel_says_so_in_a_way_after_which_celery_connects_again() -> None:
    """The vendor's raises AttributeError, and the worker ends."""
    broker.register()
    transport = Connection("redis://127.0.0.1:1/0").transport
    assert isinstance(transport, broker.Transport)
    lost: Any = object.__new__(transport.Channel)
    lost.connection = SimpleNamespace(client=None)  # as kombu leaves it
    with pytest.raises(Disconnected) as raised:
        lost._connparams()
    assert isinstance(raised.value, tuple(transport.connection_errors))
