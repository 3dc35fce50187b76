"""Uploading, and looking into the store from outside."""

import io
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from app.settings import Settings
from tests.cast import House, Person


def send(
    person: Person,
    house: House,
    content: bytes = b"plans",
    name: str = "plans.txt",
    content_type: str = "text/plain",
) -> TestResponse:
    return person.post(house.documents, data={"file": (io.BytesIO(content), name, content_type)})


def upload(
    person: Person,
    house: House,
    content: bytes = b"plans",
    name: str = "plans.txt",
    content_type: str = "text/plain",
) -> dict[str, Any]:
    """The document that was made."""
    answer = send(person, house, content, name, content_type)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def delete_for_good(person: Person, house: House, document_id: str) -> int:
    """Into the trash and out of it; the status of the first refusal, or 204."""
    moved = person.delete(f"{house.documents}/{document_id}")
    if moved.status_code != 204:
        return moved.status_code
    return person.delete(f"{house.documents}/trash/{document_id}").status_code


def stored(settings: Settings, house: House) -> set[Path]:
    """Every file in the store that is this tenant's, finished or not."""
    folder = settings.storage_path / "tenants" / house.database
    return {path for path in folder.rglob("*") if path.is_file()}
