"""scripts/verify_audit.py, as an auditor runs it."""

import json
from typing import Any

from app.core.db import main_session
from app.domains.audit.service import backlog
from tests.cast import House
from tests.domains.audit.conftest import Archive, Trail
from tests.scripts import run_script


def verify(archive: Archive, *arguments: str, **more: str) -> tuple[int, str, str]:
    environment = archive.lab.environment() | more
    return run_script("verify_audit.py", *arguments, environment=environment)


def told_of(house: House, report: str) -> dict[str, Any]:
    [verdict] = [each for each in json.loads(report)["trails"] if each["trail"] == str(house.id)]
    return dict(verdict)


def test_all_trails_and_then_a_cut_one(archive: Archive, trail: Trail) -> None:
    whole, cut = trail(2), trail(2)
    archive.seal_platform()
    tenants = ("--tenant-id", str(whole.id), "--tenant-id", str(cut.id))
    code, report, complaints = verify(archive, "--json", "--platform", *tenants)
    assert (code, complaints) == (0, "")
    assert told_of(whole, report) | {"head": "", "checkpoints": 0} == {
        "trail": str(whole.id),
        "entries": 2,
        "head": "",
        "vouched": 2,
        "checkpoints": 0,
        "unsealed": 0,
        "erased": 0,
        "count": 0,
        "findings": [],
        "notes": [],
        "holds": True,
        "proven": True,
    }
    with archive.as_owner(cut) as connection:
        connection.execute("DELETE FROM audit_entries WHERE position = 2")
    code, said, _ = verify(archive, *tenants)
    assert code == 1
    assert f"FAULT  {cut.id}: cut at 2: " in said
    assert f"whole  {whole.id}: 2 sealed entries, vouched for up to 2" in said


def test_what_it_cannot_say(archive: Archive, trail: Trail) -> None:
    house = trail(1)
    one = ("--tenant-id", str(house.id))
    code, said, _ = verify(archive, *one, AUDIT_SIGNING_KEY="")
    assert (code, "no public key was given" in said) == (3, True)
    _, key, _ = verify(archive, "--show-key")
    assert verify(archive, *one, "--public-key", key.strip(), AUDIT_SIGNING_KEY="")[0] == 0
    assert verify(archive, *one, "--public-key", "short")[0] == 2
    assert verify(archive, "--tenant-id", "00000000-0000-7000-8000-000000000000")[0] == 2
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    assert verify(archive, *one, DATABASE_PLATFORM_URL=nowhere)[0] == 6


def test_the_figures_tell_how_long_a_trail_has_waited(archive: Archive) -> None:
    archive.draw(archive.lab.new_house("acme"))
    archive.seal_platform()
    with main_session() as session:
        figures = backlog.backlog(session)
    assert figures.unsealed_trails >= 1
    assert figures.oldest_unsealed_seconds > 0
