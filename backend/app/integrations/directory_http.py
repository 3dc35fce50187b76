"""HTTP to Entra ID and Microsoft Graph: bounded, and with no help from the environment."""

from typing import Any, Final

import requests

from app.core.errors import Unavailable
from app.settings import Settings
from app.settings.bounded_http import BoundedAdapter

_BUSY: Final = 429
_BROKEN: Final = 500
_LONGEST_WAIT: Final = 3600


class DirectoryUnavailable(Unavailable):
    """Entra ID or Microsoft Graph is away, overloaded or does not make sense just now."""

    code = "directory_unavailable"

    def __init__(self, detail: str, *, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DirectorySession(requests.Session):
    """A client whose every answer is one that means something: 429 and 5xx are raised.

    Not trusting the environment keeps REQUESTS_CA_BUNDLE from replacing the certificates, and
    proxies of somebody else's out.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = str(settings.azure_ca_file) if settings.azure_ca_file else True
        self._timeout = settings.azure_timeout_seconds
        self.mount("https://", BoundedAdapter())

    def request(self, method: str, url: str, *args: Any, **options: Any) -> requests.Response:  # type: ignore[override]
        """The answer.

        Raises:
            DirectoryUnavailable: there is none in time, or it says to come back later.
        """
        options["timeout"], options["allow_redirects"] = self._timeout, False
        try:
            answer = super().request(method, url, *args, **options)
        except requests.RequestException as error:
            raise DirectoryUnavailable("The directory does not answer; try again soon.") from error
        if answer.status_code == _BUSY or answer.status_code >= _BROKEN:
            raise DirectoryUnavailable(
                f"The directory says {answer.status_code}; try again later.",
                retry_after=_seconds(answer.headers.get("Retry-After", "")),
            )
        return answer


def _seconds(retry_after: str) -> int:
    """Entra and Graph give seconds, never a date."""
    return min(int(retry_after), _LONGEST_WAIT) if retry_after.isdecimal() else 5
