"""How a route that will go announces it: to programs in each answer, to people in the contract."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from flask import Response
from werkzeug.http import http_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecation:
    """From ``since`` on there is something better, ``instead``; on ``sunset`` the route goes."""

    since: date
    sunset: date
    instead: str

    def tell(self, response: Response) -> Response:
        """Deprecation is RFC 9745's, Sunset is RFC 8594's."""
        response.headers["Deprecation"] = f"@{int(_midnight(self.since).timestamp())}"
        response.headers["Sunset"] = http_date(_midnight(self.sunset))
        return response

    @property
    def text(self) -> str:
        return f"Deprecated since {self.since}, goes on {self.sunset}. Instead: {self.instead}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
