"""The embedded Valkey."""

from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded.errors import FolderBusy, PortTaken
from embedded.ports import free_port
from embedded.valkey import ValkeyServer


def test_a_second_start_finds_the_data(tmp_path: Path) -> None:
    data = tmp_path / "val key"
    with ValkeyServer(data) as server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "42")
    with ValkeyServer(data) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"42"


def test_it_keeps_strangers_out_and_forgets_nothing_when_full(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path, durable=False) as server:
        stranger = redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        with pytest.raises(FolderBusy):
            ValkeyServer(tmp_path).start()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    port = free_port()
    first, second = (ValkeyServer(tmp_path / name, port=port) for name in ("first", "second"))
    with first, pytest.raises(PortTaken, match=str(port)):
        second.start()
