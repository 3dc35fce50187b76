"""A person is taken out of sealed trails, and they hold; nobody takes one out in silence."""

import json
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import ProgrammingError

from app.core import events, ids
from app.core.db import main_session, platform_session
from app.core.events import Origin, originating
from app.domains.audit.models import PlatformEntry, TenantEntry
from tests.cast import House, new_person
from tests.domains.audit.conftest import Archive, PlanDrawn, Trail
from tests.scripts import run_script


def erase(archive: Archive, *arguments: str, **more: str) -> tuple[int, Any]:
    environment = archive.lab.environment() | more
    code, said, _ = run_script("erase_person.py", *arguments, "--json", environment=environment)
    return code, json.loads(said) if said else None


def draw(archive: Archive, house: House, origin: Origin, colour: str = "blue") -> None:
    with originating(origin):
        archive.draw(house, colour)


def trail_of(archive: Archive, house: House) -> list[TenantEntry]:
    with archive.lab.manager.tenant_db_session(house.database) as session:
        entries = list(session.scalars(select(TenantEntry).order_by(TenantEntry.id)))
        session.expunge_all()
        return entries


def test_a_person_is_erased_and_the_trails_hold(archive: Archive, trail: Trail) -> None:
    house, bob = trail(2), new_person(archive.lab.app, "Bob")
    him, others = Origin(user_id=bob.user_id, address="192.0.2.7"), Origin(address="192.0.2.8")
    draw(archive, house, him)
    draw(archive, house, Origin(on_behalf_of=bob.user_id, task="a job"))
    draw(archive, house, others, colour=bob.email.upper())  # names him
    draw(archive, house, others, colour=f"not {bob.email}")
    archive.seal(house)
    draw(archive, house, him)  # not sealed yet
    with main_session() as session, originating(him):
        events.record(session, PlanDrawn(plan_id=ids.new_id(), colour="his"))
    archive.seal_platform()

    this = ("--user-id", str(bob.user_id), "--tenant-id", str(house.id))
    code, counted = erase(archive, *this)
    assert code == 0
    assert (counted["applied"], counted["trails"][0]["entries"]) == (False, 4)
    assert archive.verify(house).erased == 0
    code, done = erase(archive, *this, "--apply")
    assert code == 0
    assert done == counted | {"applied": True}

    entries = trail_of(archive, house)
    told = next(each for each in entries if each.type == "audit.erased")
    assert (told.details, told.target, told.task) == (
        {"entries": 4},
        str(bob.user_id),
        "erase_person",
    )
    erased = [each for each in entries if each.erased_by == told.id]
    assert len(erased) == 4
    assert {(each.address, str(each.details)) for each in erased} == {(None, "{}")}
    left = [each for each in entries if each.type == "plan.drawn" and each.erased_by is None]
    assert [each.details["colour"] for each in left] == ["blue", "blue", f"not {bob.email}"]
    with platform_session() as session:
        mine = select(PlatformEntry).where(PlatformEntry.user_id == bob.user_id)
        assert {str(each.details) for each in session.scalars(mine)} == {"{}"}

    verdict = archive.verify(house)
    assert (verdict.count, verdict.erased, verdict.unsealed, verdict.proven) == (0, 4, 0, True)
    whole = archive.verify_platform()
    assert (whole.count, whole.proven) == (0, True)
    assert whole.erased == done["trails"][1]["entries"] > 0

    # Once more, there is nothing to do, and nothing is told.
    assert erase(archive, *this, "--apply") == (0, done | {"entries": 0, "trails": nothing(done)})
    assert len(trail_of(archive, house)) == len(entries)
    archive.draw(house)
    archive.seal(house)
    assert archive.verify(house).proven


def nothing(report: Any) -> list[dict[str, Any]]:
    return [each | {"entries": 0} for each in report["trails"]]


def test_what_else_is_erased_shows(archive: Archive, trail: Trail) -> None:
    """One entry more than was told of; and a tale of it that a tenant's role has made up."""
    house, bob = trail(2), ids.new_id()
    draw(archive, house, Origin(user_id=bob))
    assert erase(archive, "--user-id", str(bob), "--tenant-id", str(house.id), "--apply")[0] == 0
    with archive.as_owner(house) as connection:
        connection.execute(
            "UPDATE audit_entries SET details = '{}', salt = NULL, erased_by = (SELECT erased_by"
            " FROM audit_entries WHERE erased_by IS NOT NULL) WHERE position = 1"
        )
        assert [each.kind for each in archive.verify(house).findings] == ["erased"]
    other = trail(1)
    with archive.lab.manager.tenant_db_session(other.database) as session:
        for details in ('"1"', '{"entries": "many"}', "[1]"):
            values = [str(ids.new_id()), "audit.erased", "him", *[None] * 6, details]
            columns = ", ".join(["%s"] * 10)
            session.connection().exec_driver_sql(f"SELECT audit_record({columns})", tuple(values))
    archive.seal(other)
    assert archive.verify(other).proven


def test_none_of_the_products_roles_can(archive: Archive, trail: Trail) -> None:
    house = trail(1)
    erasing = "SET details = '{}', salt = NULL, erased_by = id"
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        archive.lab.manager.tenant_db_session(house.database) as session,
    ):
        session.connection().exec_driver_sql(f"UPDATE audit_entries {erasing}")
    url = archive.lab.settings.database_platform_url
    assert url is not None
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        psycopg.connect(url.get_secret_value()) as connection,
    ):
        connection.execute(f"UPDATE platform_audit_entries {erasing}".encode())


def test_bad_arguments(archive: Archive) -> None:
    assert erase(archive)[0] == 2
    assert erase(archive, "--user-id", "bob")[0] == 2
    assert erase(archive, "--email", "bob@acme.example", DATABASE_OWNER_URL="")[0] == 2
    code, report = erase(archive, "--email", "bob@acme.example", "--tenant-id", str(ids.new_id()))
    assert code == 1
    assert "no such tenant" in report["trails"][0]["error"]
