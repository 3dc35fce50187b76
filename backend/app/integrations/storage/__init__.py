"""Where files' bytes lie: a folder of ours, or a bucket of any store that speaks S3."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import cast

from flask import Flask, current_app

from app.integrations.storage import disk
from app.integrations.storage.contract import (
    Link,
    LinkInvalid,
    ObjectChanged,
    ObjectMissing,
    ObjectState,
    Part,
    PartsMissing,
    Storage,
    StorageFull,
    StorageUnavailable,
    StoredObject,
)
from app.integrations.storage.disk import DiskStorage
from app.settings import Settings

__all__ = [
    "DiskStorage",
    "Link",
    "LinkInvalid",
    "ObjectChanged",
    "ObjectMissing",
    "ObjectState",
    "Part",
    "PartsMissing",
    "Storage",
    "StorageFull",
    "StorageUnavailable",
    "StoredObject",
    "check_link",
    "create",
    "current_storage",
    "guard_links",
    "init_app",
    "ping",
    "prepare",
]


def create(settings: Settings) -> Storage:
    """The store that the settings choose; opens no connection."""
    if settings.storage_backend == "s3":
        return cast("Storage", _s3_module("s3").S3Storage(settings))
    return DiskStorage(
        settings.storage_path,
        secret_key=settings.secret_key.get_secret_value(),
        public_url=settings.public_url,
    )


def prepare(settings: Settings, *, check: bool = False) -> list[str]:
    """Makes the folder or the private bucket, or only checks it; returns what it did.

    Raises:
        StorageUnavailable: the store cannot be used, or strangers can read it.
    """
    if settings.storage_backend == "s3":
        return cast("list[str]", _s3_module("bucket").prepare(settings, check=check))
    return disk.prepare(settings.storage_path, check=check)


def _s3_module(name: str) -> ModuleType:
    """What imports boto3, which costs time and memory: only for those who use it."""
    return import_module(f"app.integrations.storage.{name}")


def init_app(app: Flask, storage: Storage) -> None:
    app.extensions["storage"] = storage


def current_storage() -> Storage:
    return cast("Storage", current_app.extensions["storage"])


def ping() -> None:
    """Opens what is never stored: a store that answers knows that."""
    with suppress(ObjectMissing):
        current_storage().open("health/probe").close()


def guard_links(app: Flask, guards: Mapping[str, Callable[[Link], None]]) -> None:
    """Who is asked before a link of the disk store is followed, by the first part of its key."""
    app.extensions["link_guards"] = guards


def check_link(link: Link) -> None:
    """Raises: ObjectMissing: what the link opened may be opened no more."""
    guard = current_app.extensions["link_guards"].get(link.key.partition("/")[0])
    if guard is None:
        raise ObjectMissing("What this link opened is not there any more.")
    guard(link)
