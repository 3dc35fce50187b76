"""Seeded tenants: as many as asked for, made once, and taken away without touching others."""

import json
import subprocess
import sys
from typing import Any

from sqlalchemy import text

from tests.cast import Person
from tests.domains.fleet.conftest import entries, new_fleet, remove_fleet
from tests.paths import PROJECT
from tests.tenancy.laboratory import Laboratory


def seed(lab: Laboratory, *arguments: str, code: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "seed_fleet.py", "--json", *arguments],
        env=lab.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_as_many_as_asked_for_and_away_again(lab: Laboratory, alice: Person) -> None:
    [own] = new_fleet(lab, alice, 1)
    assert seed(lab, "--tenants", "3", "--documents", "2") == {"there": 3, "failed": []}
    first = {each.tenant_id for each in entries()}
    assert len(first) == 4
    assert seed(lab, "--tenants", "4", "--documents", "3") == {"there": 4, "failed": []}
    seeded = [each for each in entries() if each.tags == ("seeded",)]
    assert {each.slug for each in seeded} == {f"fleet-000{number}" for number in range(1, 5)}
    assert first < {each.tenant_id for each in entries()}
    for each in seeded:
        with lab.manager.tenant_db_session(each.location) as session:
            assert session.scalar(text("SELECT count(*) FROM documents")) == 3
    assert seed(lab, "--remove") == {"removed": 4, "failed": []}
    assert [each.tenant_id for each in entries()] == [own.tenant_id]
    assert seed(lab, "--remove") == {"removed": 0, "failed": []}
    remove_fleet(lab)


def test_numbers_that_make_no_sense(lab: Laboratory) -> None:
    seed(lab, "--tenants", "0", code=2)
    assert "--remove" in seed(lab, "--help")
