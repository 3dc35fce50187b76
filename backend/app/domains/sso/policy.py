"""How often somebody may fail to sign in with a directory, or to link an account."""

from typing import Final

from app.core.throttle import Limit, Throttle
from app.settings import Settings


def _failures(settings: Settings) -> tuple[Limit, ...]:
    return (
        Limit(
            by=("address",),
            attempts=settings.login_attempts_per_address,
            window_seconds=settings.login_window_seconds,
        ),
    )


def _guesses(settings: Settings) -> tuple[Limit, ...]:
    """Whoever holds a link_token guesses passwords no faster than others."""
    return (
        Limit(
            by=("account", "address"),
            attempts=settings.login_attempts_per_account_and_address,
            window_seconds=settings.login_window_seconds,
        ),
        Limit(
            by=("account",),
            attempts=settings.login_attempts_per_account,
            window_seconds=settings.login_account_window_seconds,
        ),
        *_failures(settings),
    )


CALLBACK: Final = Throttle("sso-callback", _failures, lambda _body: "")
TOKEN: Final = Throttle("sso-token", _failures, lambda _body: "")
LINK: Final = Throttle("sso-link", _guesses)
