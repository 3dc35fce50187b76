"""Dead letters: an operator sees, replays and drops them, by HTTP and by the script."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.db import platform_session
from app.domains.audit.models import PlatformEntry
from app.domains.outbox.models import Undelivered
from app.domains.outbox.service.delivery import Delivery
from app.settings import Settings
from tests.cast import Cast, House
from tests.core.live import environment_of
from tests.domains.outbox.conftest import Seen, put_aside
from tests.domains.outbox.test_delivery import message
from tests.paths import PROJECT
from tests.tenancy.laboratory import until

ALL = "/api/admin/dead-letters"


@pytest.fixture
def given_up(
    context: Flask, house: House, delivery: Delivery, observe: Callable[..., Seen]
) -> Seen:
    """A handler with two dead letters, that would not fail any more."""
    seen = observe()
    seen.failing = lambda _: True
    for number in (1, 2):
        delivery.receive(message(house, number))

    def all_dead() -> bool:
        delivery.retry_due()
        return [row.state for row in put_aside(seen)] == ["dead", "dead"]

    until(all_dead, "both to be given up")
    seen.failing = lambda _: False
    return seen


def audited(letter: Undelivered) -> list[str]:
    with platform_session() as session:
        statement = select(PlatformEntry.type).where(PlatformEntry.target == str(letter.id))
        return list(session.scalars(statement))


def test_an_administrator_lists_replays_and_drops(
    cast: Cast, house: House, delivery: Delivery, given_up: Seen
) -> None:
    first, second = put_aside(given_up)
    page = cast.petra.get(ALL, query_string={"consumer": given_up.name, "limit": 1}).get_json()
    assert [each["id"] for each in page["items"]] == [str(first.id)]
    told = page["items"][0]
    assert (told["state"], told["attempts"], told["last_error"]) == (
        "dead", 3, "LookupError: poisoned",
    )  # fmt: skip
    assert told["tenant_id"] == str(house.id)
    assert "payload" not in told
    query = {"consumer": given_up.name, "cursor": page["next_cursor"]}
    rest = cast.petra.get(ALL, query_string=query).get_json()
    assert [each["id"] for each in rest["items"]] == [str(second.id)]

    answer = cast.petra.post(f"{ALL}/{first.id}/replay")
    assert (answer.status_code, answer.get_json()["state"]) == (200, "parked")
    refused = cast.petra.post(f"{ALL}/{first.id}/replay")
    assert (refused.status_code, refused.get_json()["code"]) == (409, "letter_waits")
    assert cast.petra.delete(f"{ALL}/{first.id}").status_code == 409
    assert cast.petra.delete(f"{ALL}/{second.id}").status_code == 204
    assert cast.petra.delete(f"{ALL}/{second.id}").get_json()["code"] == "letter_not_found"
    delivery.retry_due()
    assert given_up.numbers(house) == [1]
    assert put_aside(given_up) == []
    assert (audited(first), audited(second)) == (["dead_letter.replayed"], ["dead_letter.dropped"])


def test_a_range_is_replayed_in_order(
    cast: Cast, house: House, delivery: Delivery, given_up: Seen
) -> None:
    before = put_aside(given_up)[0].created_at.isoformat()
    chosen = {"tenant_id": str(house.id), "consumer": given_up.name}
    none = cast.petra.post(f"{ALL}/replay", json=chosen | {"until": before})
    assert none.get_json() == {"replayed": 0}
    assert cast.petra.post(f"{ALL}/replay", json={"since": "yesterday"}).status_code == 422
    both = cast.petra.post(f"{ALL}/replay", json=chosen | {"since": before})
    assert both.get_json() == {"replayed": 2}
    delivery.retry_due()
    assert given_up.numbers(house) == [1, 2]


def test_nobody_else_sees_one(cast: Cast, given_up: Seen) -> None:
    """Also not past the permission: the database shows them to administrators alone."""
    letter = put_aside(given_up)[0]
    for person in (cast.alice, cast.sam):
        assert person.get(ALL).status_code == 403
        assert person.post(f"{ALL}/{letter.id}/replay").status_code == 403
    assert put_aside(given_up)[0].state == "dead"


def run(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "dead_letters.py"), *arguments],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_script(house: House, settings: Settings, delivery: Delivery, given_up: Seen) -> None:
    first, second = put_aside(given_up)
    listed = json.loads(run(settings, "list", "--json", "--consumer", given_up.name).stdout)
    assert [each["id"] for each in listed] == [str(first.id), str(second.id)]
    assert listed[0]["last_error"] == "LookupError: poisoned"
    replayed = run(settings, "replay", str(first.id))
    assert (replayed.returncode, str(first.id) in replayed.stdout) == (0, True)
    dropped = run(settings, "drop", str(second.id), str(ids.new_id()), "--json")
    outcomes = json.loads(dropped.stdout)
    assert (dropped.returncode, len(outcomes)) == (1, 2)
    assert outcomes[1]["refused"] == "There is no such dead letter."
    delivery.retry_due()
    assert given_up.numbers(house) == [1]
    assert put_aside(given_up) == []
    assert run(settings, "replay").returncode == 2
