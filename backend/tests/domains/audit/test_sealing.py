"""The chain: made by a job, unforked whoever writes, and broken by whatever is done to it."""

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from pydantic import SecretStr
from sqlalchemy import select

from app.core import clock, ids
from app.core.db import platform_session
from app.core.tasks import DEFINITIONS
from app.domains.audit.models import PlatformEntry
from app.domains.audit.service import sealing
from app.domains.audit.service.checkpoints import Signer, Verifier
from app.domains.audit.service.findings import Verdict
from app.domains.jobs.models import Job
from tests.cast import House
from tests.domains.audit.conftest import Archive, Trail

WRITERS = 20
EACH = 5


def kinds(verdict: Verdict) -> list[tuple[str, int | None]]:
    return [(each.kind, each.position) for each in verdict.findings]


def checkpoints_of(house: House) -> list[PlatformEntry]:
    query = select(PlatformEntry).where(
        PlatformEntry.tenant_id == house.id, PlatformEntry.type == "audit.sealed"
    )
    with platform_session() as session:
        return list(session.scalars(query.order_by(PlatformEntry.id)))


def test_what_is_recorded_asks_for_its_seal(archive: Archive) -> None:
    """By one row of the table of jobs for each span of time, that is due after it."""
    house, before = archive.lab.new_house("acme"), clock.now()
    for _ in range(3):
        archive.draw(house)
    query = select(Job).where(Job.name == "audit.seal", Job.tenant_id == house.id)
    with platform_session() as session:
        jobs = list(session.scalars(query))
    assert 1 <= len(jobs) <= 2  # the span may have ended meanwhile
    assert all(job.due_at > before for job in jobs)
    DEFINITIONS["audit.seal"].run(**jobs[0].arguments)
    verdict = archive.verify(house)
    assert (verdict.entries, verdict.vouched, verdict.unsealed) == (3, 3, 0)
    assert verdict.proven
    assert len(checkpoints_of(house)) == 1
    assert archive.seal(house) == 0
    assert len(checkpoints_of(house)) == 1


def test_twenty_writers_and_three_sealers_make_one_chain(archive: Archive) -> None:
    house = archive.lab.new_house("acme")

    def write(_: int) -> None:
        for _ in range(EACH):
            archive.draw(house)

    def chain(_: int) -> int:
        """The database's function alone: nothing else keeps these apart."""
        with archive.as_owner(house) as connection:
            found = [connection.execute("SELECT * FROM audit_seal(3)") for _ in range(EACH)]
            return sum(cursor.fetchall()[0][0] for cursor in found)

    with ThreadPoolExecutor(WRITERS + 3) as pool:
        writing = [pool.submit(copy_context().run, write, each) for each in range(WRITERS)]
        sealed = [pool.submit(copy_context().run, chain, each) for each in range(3)]
        for each in writing:
            each.result()
        meanwhile = sum(each.result() for each in sealed)
    assert meanwhile + archive.seal(house) == WRITERS * EACH
    verdict = archive.verify(house)
    assert (kinds(verdict), verdict.entries, verdict.vouched) == ([], 100, 100)


def test_who_is_not_committed_yet_is_waited_for(archive: Archive, trail: Trail) -> None:
    house = trail(1)
    with archive.as_owner(house) as connection, connection.transaction():
        values = [ids.new_id(), "plan.drawn", "a plan", *[None] * 6, "{}"]
        connection.execute(f"SELECT audit_record({', '.join(['%s'] * 10)})".encode(), values)
        assert archive.seal(house) == 0
        query = select(Job).where(Job.name == "audit.seal", Job.tenant_id == house.id)
        with platform_session() as session:
            slots = {job.slot for job in session.scalars(query)}
        assert len(slots) >= 2
    assert archive.seal(house) == 1
    with platform_session() as session:
        assert {job.slot for job in session.scalars(query)} == slots
    assert archive.verify(house).proven


# What somebody does who has all rights in the tenant's database, and what shows it. The third and
# the fourth number the rows behind anew.
TAMPERING = {
    "UPDATE audit_entries SET user_id = gen_random_uuid() WHERE position = 2": [("changed", 2)],
    'UPDATE audit_entries SET details = \'{"colour": "red"}\' WHERE position = 3': [("changed", 3)],
    "UPDATE audit_entries SET address = NULL, salt = gen_random_uuid() WHERE position = 3": [
        ("changed", 3)
    ],
    "DELETE FROM audit_entries WHERE position = 2": [("removed", 2)],
    "DELETE FROM audit_entries WHERE position IN (1, 2)": [("removed", 1)],
    "DELETE FROM audit_entries WHERE position = 4": [("cut", 4)],
    "DELETE FROM audit_entries": [("cut", 4)],
    "DELETE FROM audit_entries WHERE position = 2;"
    " UPDATE audit_entries SET position = position - 1 WHERE position > 2": [
        ("changed", 2),
        ("changed", 3),
        ("cut", 4),
    ],
    "UPDATE audit_entries SET position = position + 10 WHERE position > 2;"
    " INSERT INTO audit_entries SELECT gen_random_uuid(), recorded_at, type, target, user_id,"
    " session_id, address, request_id, task, details, on_behalf_of, salt, commitment, 3, hash"
    " FROM audit_entries WHERE position = 2;"
    " UPDATE audit_entries SET position = position - 9 WHERE position > 10": [
        ("changed", 3),
        ("changed", 4),
        ("rewritten", 4),
        ("changed", 5),
    ],
    # The whole chain computed anew behind the change.
    "UPDATE audit_entries SET details = '{}', commitment = audit_commitment(salt, address, '{}')"
    " WHERE position = 1; UPDATE audit_entries SET position = NULL, hash = NULL;"
    " SELECT audit_seal(10)": [("rewritten", 4)],
    # As if it had been erased.
    "UPDATE audit_entries SET details = '{}', salt = NULL, erased_by = gen_random_uuid()"
    " WHERE position = 2": [("erased", None)],
    "UPDATE audit_entries SET details = '{}', salt = NULL, erased_by = id WHERE position = 2": [
        ("erased", None)
    ],
}


def test_no_tampering_goes_unseen(archive: Archive, trail: Trail) -> None:
    house, found = trail(4), {}
    with archive.as_owner(house) as connection:
        connection.execute("CREATE TEMP TABLE kept AS TABLE audit_entries")
        for tampering in TAMPERING:
            connection.execute(tampering.encode())
            found[tampering] = kinds(archive.verify(house))
            connection.execute(
                "DELETE FROM audit_entries; INSERT INTO audit_entries TABLE kept", prepare=False
            )
            assert archive.verify(house).proven
    assert found == TAMPERING


def test_an_entry_that_came_later_than_it_says(archive: Archive, trail: Trail) -> None:
    house = trail(2)
    archive.draw(house)
    with archive.as_owner(house) as connection:
        connection.execute(
            "UPDATE audit_entries SET recorded_at = recorded_at - interval '2 hours'"
            " WHERE position IS NULL"
        )
    archive.seal(house)
    assert kinds(archive.verify(house)) == [("backdated", 3)]


def test_a_checkpoint_that_somebody_else_signed(archive: Archive, trail: Trail) -> None:
    """And one whose key has been exchanged since, with and without the former public key."""
    house, settings = trail(2), archive.lab.settings
    other = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    with archive.as_owner(house) as connection:
        connection.execute("DELETE FROM audit_entries WHERE position = 2")
    forging = settings.model_copy(update={"audit_signing_key": SecretStr(other)})
    sealing.seal_tenant(archive.lab.manager, forging, tenant_id=house.id)
    assert kinds(archive.verify(house)) == [("forged", 1), ("cut", 2)]

    house, rotated, former = trail(2), forging, Signer.of(settings)
    assert former is not None
    archive.draw(house)
    sealing.seal_tenant(archive.lab.manager, rotated, tenant_id=house.id)
    assert kinds(archive.verify(house, Verifier.of(rotated))) == [("forged", 2)]
    both = Verifier.of(rotated.model_copy(update={"audit_public_keys": (former.public_key,)}))
    verdict = archive.verify(house, both)
    assert (verdict.proven, verdict.vouched, verdict.checkpoints) == (True, 3, 2)


def test_without_a_key_nothing_vouches(archive: Archive) -> None:
    house = archive.lab.new_house("acme")
    archive.draw(house)
    unsigned = archive.lab.settings.model_copy(update={"audit_signing_key": None})
    sealing.seal_tenant(archive.lab.manager, unsigned, tenant_id=house.id)
    verdict = archive.verify(house)
    assert (verdict.holds, verdict.proven, verdict.vouched) == (True, False, 0)
    assert archive.verify(house, Verifier([])).holds


def test_the_platforms_trail(archive: Archive, trail: Trail) -> None:
    """Its checkpoints lie in the store, and its entries hold those of tenants."""
    house = trail(1)
    assert archive.seal_platform() > 0
    verdict = archive.verify_platform()
    assert (kinds(verdict), verdict.unsealed) == ([], 0)
    assert verdict.proven
    assert verdict.vouched == verdict.entries
    archive.lab.new_house("globex")
    archive.seal_platform()
    keys = list(archive.storage.keys("audit/platform"))
    assert len(keys) == len({key.split("/")[2] for key in keys})  # one for each day
    [checkpoint] = checkpoints_of(house)
    with archive.as_main_superuser() as connection:
        connection.execute("CREATE TEMP TABLE kept AS TABLE platform_audit_entries")
        taken = connection.execute(
            "DELETE FROM platform_audit_entries WHERE position = (SELECT max(position)"
            " FROM platform_audit_entries) RETURNING position"
        ).fetchone()
        connection.execute(
            "UPDATE platform_audit_entries SET tenant_id = NULL WHERE id = %s", (checkpoint.id,)
        )
        assert taken is not None
        found = kinds(archive.verify_platform())
        assert found == [("changed", checkpoint.position), ("cut", taken[0])]
        connection.execute(
            "DELETE FROM platform_audit_entries; INSERT INTO platform_audit_entries TABLE kept",
            prepare=False,
        )
    archive.storage.put("audit/platform/2026-01-01/1", [at_another_position(archive)])
    assert kinds(archive.verify_platform())[0][0] == "forged"
    archive.storage.delete("audit/platform/2026-01-01/1")
    assert archive.verify_platform().proven


def at_another_position(archive: Archive) -> bytes:
    """A checkpoint that the key has signed, with another position."""
    with archive.storage.open(list(archive.storage.keys("audit/platform"))[-1]) as file:
        return file.read().replace(b'"position": ', b'"position": 1')
