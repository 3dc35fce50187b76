"""The time: aware and UTC."""

from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)
