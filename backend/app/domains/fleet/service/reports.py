"""A signed report of an audit, for somebody who was not there.

Signed with Ed25519 (RFC 8032) and not with an HMAC: whoever checks a report needs only the public
key, and so could not have written it.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import SecretStr

from app.domains.fleet.service.auditing import Audit


def signed(audit: Audit, key: SecretStr) -> dict[str, Any]:
    """The audit as a document, with its signature and the public key to check it with."""
    private = Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key.get_secret_value()))
    report = document(audit)
    return {
        "report": report,
        "algorithm": "Ed25519",
        "public_key": _text(private.public_key().public_bytes_raw()),
        "signature": _text(private.sign(_bytes(report))),
    }


def document(audit: Audit) -> dict[str, Any]:
    counts = {
        "tenants": audit.tenants,
        "attempts": audit.attempts,
        "breaches": len(audit.breaches),
        "warnings": len(audit.warnings),
    }
    return {
        "installation": audit.installation,
        "started_at": audit.started_at.isoformat(),
        "finished_at": audit.finished_at.isoformat(),
        "counts": counts,
        "breaches": [asdict(each) for each in audit.breaches],
        "warnings": [asdict(each) for each in audit.warnings],
    }


def is_genuine(signed_report: Mapping[str, Any], public_key: str) -> bool:
    """Whether the holder of the key's other half signed exactly this report.

    The key is given by who checks: the one inside a report says only who claims to have signed.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(public_key))
        signature = base64.urlsafe_b64decode(signed_report["signature"])
        key.verify(signature, _bytes(signed_report["report"]))
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False
    return True


def _bytes(report: Mapping[str, Any]) -> bytes:
    """One form for one content, however a file was laid out."""
    return json.dumps(report, sort_keys=True, separators=(",", ":")).encode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode()
