"""How often somebody may try to be somebody; docs/identity.md says what each limit is against."""

from typing import Final

from app.core.throttle import Limit, Throttle
from app.settings import Settings


def _login_limits(settings: Settings) -> tuple[Limit, ...]:
    return (
        Limit(
            by=("account", "address"),
            attempts=settings.login_attempts_per_account_and_address,
            window_seconds=settings.login_window_seconds,
        ),
        Limit(
            by=("address",),
            attempts=settings.login_attempts_per_address,
            window_seconds=settings.login_window_seconds,
        ),
        Limit(
            by=("account",),
            attempts=settings.login_attempts_per_account,
            window_seconds=settings.login_account_window_seconds,
            but_known=True,
        ),
        Limit(
            by=(),
            attempts=settings.login_attempts_over_all,
            window_seconds=settings.login_window_seconds,
            but_known=True,
        ),
    )


def _password_limits(settings: Settings) -> tuple[Limit, ...]:
    """Whoever stole a token guesses no faster than whoever did not."""
    return (
        Limit(
            by=("account",),
            attempts=settings.login_attempts_per_account_and_address,
            window_seconds=settings.login_window_seconds,
        ),
    )


LOGIN: Final = Throttle("login", _login_limits)
CHANGE_PASSWORD: Final = Throttle("change-password", _password_limits)
