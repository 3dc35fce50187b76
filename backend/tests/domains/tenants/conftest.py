"""An installation of the module's own, where nobody else leaves half-made tenants."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.settings import Settings
from tests.cast import Person, new_person
from tests.tenancy.laboratory import Laboratory, laboratory


@pytest.fixture(scope="module")
def lab(
    server_urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """With its application context."""
    with laboratory(server_urls, tmp_path_factory.mktemp("lab")) as made, made.app.app_context():
        yield made


@pytest.fixture(scope="module")
def alice(lab: Laboratory) -> Person:
    return new_person(lab.app, "Alice")


@pytest.fixture
def house(app: Flask, settings: Settings, admin_url: str) -> Laboratory:
    """The worker's own installation, where the cast lives."""
    return Laboratory(app, settings, admin_url)
