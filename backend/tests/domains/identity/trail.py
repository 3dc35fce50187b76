"""What the platform's audit trail and the log hold of signing in."""

import logging
from typing import Any

import pytest
from sqlalchemy import select

from app.core.db import platform_session
from app.domains.audit.models import PlatformEntry


def recorded(target: object, kind: str | None = None) -> list[PlatformEntry]:
    """The events about this, oldest first."""
    query = select(PlatformEntry).where(PlatformEntry.target == str(target))
    if kind is not None:
        query = query.where(PlatformEntry.type == kind)
    with platform_session() as session:
        return list(session.scalars(query.order_by(PlatformEntry.id)))


def logged(caplog: pytest.LogCaptureFixture, kind: str) -> list[dict[str, Any]]:
    """The lines of one event."""
    lines = [vars(record) for record in caplog.records if record.name == "app.auth"]
    return [line for line in lines if line["event"] == kind]


def listening(caplog: pytest.LogCaptureFixture) -> Any:
    return caplog.at_level(logging.INFO, logger="app.auth")
