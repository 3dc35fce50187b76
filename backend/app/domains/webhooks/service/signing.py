"""Signatures after Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from app.core import ids

_PREFIX: Final = "whsec_"


def new_secret() -> str:
    return _PREFIX + base64.b64encode(ids.new_key()).decode()


def headers(
    message_id: object, body: bytes, *, sent_at: datetime, secrets: Sequence[str]
) -> dict[str, str]:
    """One signature for each secret, so that whoever knows either can verify."""
    timestamp = str(int(sent_at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
