"""Ids and random tokens."""

import hashlib
import secrets
from uuid import UUID

from uuid_utils import compat


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): ids sort by the time they were made."""
    return compat.uuid7()


def new_token() -> str:
    """256 random bits, safe in a URL."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What is stored of a random token: 256 bits cannot be guessed, so a plain SHA-256 will do."""
    return hashlib.sha256(token.encode()).digest()


def new_key() -> bytes:
    """256 random bits."""
    return secrets.token_bytes(32)
