"""Microsoft Graph, in the name of somebody who signed in (delegated, ``User.Read``)."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import requests

from app.integrations.directory_http import DirectorySession, DirectoryUnavailable
from app.settings import Settings

_GROUPS_AT_ONCE: Final = 20  # Graph takes no more in one question
_MOST_PAGES: Final = 50
_MOST_PHOTO_BYTES: Final = 1024 * 1024
_ATTEMPTS: Final = 3
# A request waits this long for a second try, and no longer: who is told to come back later, does.
_LONGEST_PAUSE: Final = 2
_GONE: Final = 404
_REFUSED: Final = frozenset({401, 403})


class GraphRefused(Exception):
    """Graph does not take the token, or not for this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a directory knows of a person; None where it does not say."""

    object_id: str
    display_name: str | None
    mail: str | None
    user_principal_name: str | None
    job_title: str | None
    department: str | None
    office_location: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    id: str
    name: str | None


class Graph:
    """One cloud's Graph; every verb takes the person's access token.

    Each of them raises:
        DirectoryUnavailable: Graph is away or overloaded, also after a pause.
        GraphRefused: it does not take the token.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = f"{settings.graph_url}/v1.0"

    def me(self, access_token: str) -> Profile:
        said = self._json("GET", f"{self._base}/me", access_token)
        return Profile(
            object_id=str(said.get("id", "")),
            display_name=_text(said, "displayName"),
            mail=_text(said, "mail"),
            user_principal_name=_text(said, "userPrincipalName"),
            job_title=_text(said, "jobTitle"),
            department=_text(said, "department"),
            office_location=_text(said, "officeLocation"),
        )

    def photo(self, access_token: str) -> Photo | None:
        answer = self._ask("GET", f"{self._base}/me/photo/$value", access_token)
        media_type = answer.headers.get("Content-Type", "").partition(";")[0]
        usable = answer.ok and media_type in {"image/jpeg", "image/png"}
        if not usable or len(answer.content) > _MOST_PHOTO_BYTES:
            return None
        return Photo(content=answer.content, media_type=media_type)

    def member_of(self, access_token: str) -> list[Group]:
        """The groups that the person is directly in, through all of Graph's pages."""
        return list(self._pages(f"{self._base}/me/memberOf", access_token))

    def among_groups(self, access_token: str, groups: Collection[UUID]) -> frozenset[UUID]:
        """Those of the groups that the person is in, also through others.

        ID tokens tell at most 200 groups, and then none at all; so nobody asks them.
        """
        wanted, found = sorted(str(group) for group in groups), set[UUID]()
        for start in range(0, len(wanted), _GROUPS_AT_ONCE):
            said = self._json(
                "POST",
                f"{self._base}/me/checkMemberGroups",
                access_token,
                {"groupIds": wanted[start : start + _GROUPS_AT_ONCE]},
            )
            found |= _uuids(said.get("value"))
        return frozenset(found.intersection(groups))

    def _pages(self, address: str, access_token: str) -> Iterator[Group]:
        following: object = address
        for _ in range(_MOST_PAGES):
            # The address of the next page is Graph's word: a token goes to no other host.
            if not isinstance(following, str) or not following.startswith(f"{self._base}/"):
                return
            said = self._json("GET", following, access_token)
            for item in said.get("value") or ():
                if str(item.get("@odata.type", "")).endswith("group"):
                    yield Group(id=str(item.get("id")), name=_text(item, "displayName"))
            following = said.get("@odata.nextLink")

    def _json(
        self, method: str, address: str, access_token: str, body: object = None
    ) -> dict[str, Any]:
        answer = self._ask(method, address, access_token, body)
        if not answer.ok:
            raise GraphRefused(f"Graph says {answer.status_code}.")
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise DirectoryUnavailable("Graph answers no JSON.")
        return said

    def _ask(
        self, method: str, address: str, access_token: str, body: object = None
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {access_token}"}
        for attempt in range(1, _ATTEMPTS + 1):
            with DirectorySession(self._settings) as http:
                try:
                    answer = http.request(method, address, headers=headers, json=body)
                except DirectoryUnavailable as error:
                    pause = error.retry_after or 0
                    if attempt == _ATTEMPTS or pause > _LONGEST_PAUSE:
                        raise
                else:
                    if answer.status_code in _REFUSED:
                        raise GraphRefused(f"Graph says {answer.status_code}.")
                    return answer
            time.sleep(pause)
        raise AssertionError


def _text(said: dict[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value[:500] if isinstance(value, str) and value else None


def _uuids(value: object) -> set[UUID]:
    """Raises `DirectoryUnavailable` for anything but a list: no answer is not "no groups"."""
    if not isinstance(value, list):
        raise DirectoryUnavailable("Graph does not say which groups.")
    return {UUID(each) for each in value if isinstance(each, str)}
