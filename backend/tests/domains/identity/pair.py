"""Two API processes on one installation, and people who talk to both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import requests
from pydantic import SecretStr

from app.settings import Settings
from embedded.valkey import ValkeyServer
from tests.cast import PASSWORD, Person
from tests.core.live import running_api
from tests.domains.identity.accounts import new_address

_SECONDS: Final = 20


@dataclass
class Visitor:
    """Somebody at an address of his or her own, who sends each request to a process of choice."""

    email: str
    address: str = field(default_factory=new_address)
    tokens: dict[str, Any] = field(default_factory=dict)

    def send(self, method: str, url: str, **options: Any) -> requests.Response:
        headers = {"X-Forwarded-For": self.address} | options.pop("headers", {})
        if self.tokens:
            headers.setdefault("Authorization", f"Bearer {self.tokens['access_token']}")
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, url, headers=headers, timeout=_SECONDS, **options)

    def get(self, url: str) -> requests.Response:
        return self.send("GET", url)

    def log_in(self, api: str, password: str = PASSWORD) -> requests.Response:
        answer = self.send(
            "POST",
            f"{api}/api/auth/login",
            json={"email": self.email, "password": password},
            headers={"Authorization": ""},
        )
        if answer.ok:
            self.tokens = answer.json()
        return answer

    def refresh(self, api: str) -> requests.Response:
        body = {"refresh_token": self.tokens["refresh_token"]}
        return self.send("POST", f"{api}/api/auth/refresh", json=body)


def visiting(person: Person, api: str) -> Visitor:
    """The person, signed in at this process."""
    visitor = Visitor(person.email)
    answer = visitor.log_in(api)
    assert answer.ok, answer.text
    return visitor


@dataclass
class Pair:
    """Both processes' URLs, and the Redis that they share."""

    here: str
    there: str
    redis: ValkeyServer

    @property
    def both(self) -> tuple[str, str]:
        return self.here, self.there

    def stop_redis(self) -> None:
        self.redis.stop()

    def start_empty_redis(self, folder: Path) -> None:
        again = ValkeyServer(folder, durable=False, port=self.redis.port)
        again._password = self.redis._password
        self.redis = again
        again.start()


@contextmanager
def running_pair(settings: Settings, folder: Path, **changes: Any) -> Iterator[Pair]:
    """They believe us for whom we ask: each visitor has an address."""
    redis = ValkeyServer(folder / "valkey", durable=False)
    redis.start()
    pair = Pair("", "", redis)
    shared: dict[str, Any] = {
        "public_url": settings.public_url,
        "redis_url": SecretStr(redis.url),
        "trusted_proxies": (ip_network("127.0.0.1/32"),),
    }
    with ExitStack() as stack:
        stack.callback(pair.stop_redis)
        for name in ("here", "there"):
            logs = folder / name
            logs.mkdir()
            api = running_api(settings, logs, **shared | changes)
            setattr(pair, name, stack.enter_context(api))
        yield pair
