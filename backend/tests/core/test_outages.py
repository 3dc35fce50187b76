"""A part that is away fills no log with traces, and a surprise is not told in a word."""

import logging

import pytest
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy.exc import OperationalError

from app.core.errors import Unavailable
from app.core.outages import log_failure

logger = logging.getLogger(__name__)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("no server"), "Unavailable: no server"),
        (RedisAway("refused"), "ConnectionError: refused"),
        (
            OperationalError("SELECT 'bob@example.com'", None, OSError("refused")),
            "OperationalError: (builtins.OSError) refused",
        ),
        (ConnectionResetError("reset"), "ConnectionResetError: reset"),
    ],
)
def test_a_part_that_is_away(
    caplog: pytest.LogCaptureFixture, error: Exception, reason: str
) -> None:
    log_failure(logger, "this round failed", error, attempt=1)
    (line,) = caplog.records
    assert (line.levelname, line.exc_info, line.reason, line.attempt) == (  # type: ignore[attr-defined]
        "WARNING",
        None,
        reason,
        1,
    )


def test_a_surprise(caplog: pytest.LogCaptureFixture) -> None:
    log_failure(logger, "this round failed", LookupError("poisoned"))
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], LookupError)
