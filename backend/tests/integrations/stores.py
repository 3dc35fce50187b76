"""Both stores, ready to be used, and what else their tests need."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
from cryptography.fernet import Fernet
from pydantic import SecretStr

from app.integrations import storage
from app.integrations.storage import DiskStorage, Storage
from app.settings import Settings

KINDS = ("disk", "s3")
HOST = "api.example.com"
# A store needs none of these.
_OTHERS: dict[str, Any] = {
    "environment": "testing",
    "installation_id": "tenantry",
    "secret_key": "a secret key of more than 32 characters",
    "secrets_keys": (Fernet.generate_key().decode(),),
    "database_url": "postgresql://unused",
    "provisioner_url": "postgresql://unused",
    "redis_url": "redis://unused",
    "public_url": f"https://{HOST}",
}


def s3_settings(url: str) -> dict[str, Any]:
    """A bucket of one's own on the server that the run's variable describes.

    Skips where there is none: the embedded run has no S3 server.
    """
    if not url:
        pytest.skip("needs an S3 server: scripts/services.py run s3 -- make test")
    parts = urlsplit(url)
    return {
        "storage_backend": "s3",
        "s3_endpoint_url": f"{parts.scheme}://{parts.hostname}:{parts.port}",
        "s3_bucket": f"tenantry-{uuid4().hex[:12]}",
        "s3_region": "us-east-1",
        "s3_access_key_id": parts.username,
        "s3_secret_access_key": SecretStr(parts.password or ""),
        "s3_timeout": 3,
    }


def settings_for(kind: str, folder: Path, s3_url: str, **changes: Any) -> Settings:
    """Of a process that has a store and nothing else."""
    own = s3_settings(s3_url) if kind == "s3" else {"storage_path": folder}
    return Settings(**(_OTHERS | own | changes))


def ready(settings: Settings) -> Storage:
    storage.prepare(settings)
    return storage.create(settings)


@contextmanager
def client() -> Iterator[requests.Session]:
    """Somebody who knows an address and nothing else; no proxy of the machine's is used."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def send(store: Storage, url: str, content: bytes) -> int:
    """PUTs the bytes to a signed address; the status of the answer.

    What is signed by the disk store is redeemed by it: its route has tests of its own.
    """
    if isinstance(store, DiskStorage):
        grant = store.redeem_grant(url.rpartition("/")[2], host=HOST)
        store.receive(grant, [content])
        return 200
    with client() as session:
        return session.put(url, data=content, timeout=10).status_code
