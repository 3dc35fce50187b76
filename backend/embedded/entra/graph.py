"""The stand-in's Microsoft Graph: who am I, my photo, my groups."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from embedded.entra.directory import Directory, DirectoryPerson

_PAGE_SIZE = 2
_MOST_GROUPS = 20
# One pixel.
_PHOTO = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0"
    "00000301010018dd8db00000000049454e44ae426082"
)


@dataclass(frozen=True)
class Answer:
    status: int
    content: Any
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(  # noqa: PLR0917  # one request
    directories: Iterable[Directory],
    method: str,
    path: str,
    query: Mapping[str, str],
    body: Any,
    token: str,
) -> Answer:
    """For the person behind the token."""
    for directory in directories:
        person = directory.person_behind(token)
        if person is not None:
            directory.counts[f"graph {path}"] += 1
            return _misbehaving(directory) or _answer(
                directory, person, (method, path), query, body
            )
    return Answer(401, {"error": {"code": "InvalidAuthenticationToken"}})


def _misbehaving(directory: Directory) -> Answer | None:
    wrong, busy = directory.graph_misbehaviour, {"error": {"code": "tooManyRequests"}}
    if wrong == "429_once":
        directory.graph_misbehaviour = None
        return Answer(429, busy, {"Retry-After": "1"})
    if wrong == "429":
        return Answer(429, busy, {"Retry-After": "120"})
    return Answer(int(wrong), {"error": {"code": "no"}}) if wrong else None


def _answer(
    directory: Directory,
    person: DirectoryPerson,
    asked: tuple[str, str],
    query: Mapping[str, str],
    body: Any,
) -> Answer:
    if asked == ("GET", "me"):
        return Answer(200, _profile(person))
    if asked == ("GET", "me/photo/$value"):
        return Answer(200, _PHOTO)
    if asked == ("GET", "me/memberOf"):
        return _member_of(directory, person, int(query.get("$skiptoken", 0)))
    if asked == ("POST", "me/checkMemberGroups"):
        groups = body["groupIds"]
        if len(groups) > _MOST_GROUPS:
            return Answer(400, {"error": {"code": "Request_BadRequest"}})
        return Answer(200, {"value": [each for each in groups if each in person.groups]})
    return Answer(404, {"error": {"code": "notFound"}})


def _profile(person: DirectoryPerson) -> dict[str, Any]:
    return {
        "id": person.id,
        "displayName": person.name,
        "mail": person.email,
        "userPrincipalName": person.email,
        "jobTitle": None,
    }


def _member_of(directory: Directory, person: DirectoryPerson, skip: int) -> Answer:
    groups = sorted(person.groups)
    page: dict[str, Any] = {
        "value": [
            {"@odata.type": "#microsoft.graph.group", "id": each, "displayName": f"Group {each}"}
            for each in groups[skip : skip + _PAGE_SIZE]
        ]
    }
    if skip + _PAGE_SIZE < len(groups):
        following = f"{directory.base}/v1.0/me/memberOf?$skiptoken={skip + _PAGE_SIZE}"
        page["@odata.nextLink"] = following
    return Answer(200, page)
