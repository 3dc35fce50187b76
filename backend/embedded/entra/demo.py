"""The demonstration's directory: acme's, with the same ids in every run."""

import uuid
from typing import Final

DIRECTORY_ID: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "acme.example")
CLIENT_ID: Final = uuid.uuid5(DIRECTORY_ID, "tenantry")
PEOPLE: Final = {
    "alice@acme.example": "Alice",
    "ada@acme.example": "Ada",
    "ursula@acme.example": "Ursula",
    "bob@acme.example": "Bob",
}
# The directory knows them, and acme does not: so a refusal can be seen as well.
GUESTS: Final = {"mallory@globex.example": "Mallory"}


def person_id(email: str) -> uuid.UUID:
    """The object id of somebody in the directory."""
    return uuid.uuid5(DIRECTORY_ID, email)
