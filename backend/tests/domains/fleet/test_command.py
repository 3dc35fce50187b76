"""The command: what it prints, in words and as JSON, and its exit codes."""

import json
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.cli import ScriptInfo

from app.core import ids
from app.domains.fleet import cli
from app.domains.fleet.service import running
from app.domains.tenants.service.ledger import FleetEntry
from app.settings import Settings
from app.tenancy.migrations import tree
from tests.domains.fleet.conftest import Release, entries, revisions
from tests.domains.fleet.trees import HEAD, Migration, after, column
from tests.paths import PROJECT
from tests.tenancy.laboratory import Laboratory

Fleet = list[FleetEntry]
OLD = tree.TENANT


def command(lab: Laboratory, *arguments: str, **more: Any) -> Result:
    # A context of its own, as a process has.
    application = ScriptInfo(create_app=lambda: lab.app)
    return CliRunner().invoke(cli.migrate, arguments, obj=application, **more)


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def spoil(lab: Laboratory, entry: FleetEntry) -> None:
    with lab.manager.server.connect_as_owner(entry.location.database) as connection:
        connection.execute("ALTER TABLE documents ADD COLUMN colour int")


def test_the_plan_changes_nothing(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    shown = command(lab, "--dry-run", "--wave", "canary,rest")
    assert shown.exit_code == 0
    assert "ALTER TABLE documents ADD COLUMN colour TEXT;" in shown.stdout
    assert "wave canary: 1 tenant(s)" in shown.stdout
    told = document(command(lab, "--dry-run", "--json"))
    assert told["target"] == after(1)
    assert {each["id"] for each in told["waves"][0]["tenants"]} == {
        str(each.tenant_id) for each in fleet
    }
    assert revisions() == {HEAD}


def test_a_run_and_its_history(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    done = command(lab, "--verify", "--json")
    assert done.exit_code == 0
    told = document(done)
    assert (told["status"], told["counts"]["succeeded"]) == ("succeeded", 5)
    assert told["differing"] == []
    [newest, *_] = document(command(lab, "--history", "--json"))["runs"]
    assert newest["id"] == told["run_id"]
    [run] = document(command(lab, "--history", told["run_id"], "--json"))["runs"]
    assert {each["status"] for each in run["results"]} == {"succeeded"}
    assert all(each["seconds"] > 0 for each in run["results"])
    words = command(lab, "--history", told["run_id"])
    assert words.stdout.count(f"{HEAD} to {after(1)}") == 5
    again = command(lab)
    assert (again.exit_code, again.stdout) == (0, "Nothing to do: 5 tenant(s) are at the target.\n")


def test_failures_are_told_and_counted(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    spoil(lab, fleet[0])
    done = command(lab)
    assert done.exit_code == 1
    assert f"FAILED {fleet[0].slug} {fleet[0].tenant_id}: DuplicateColumn" in done.stdout
    assert "4 succeeded, 1 failed" in done.stdout
    assert command(lab, "--max-failures", "0").exit_code == 4
    assert command(lab, "--resume", "--max-failures", "0").exit_code == 4


def test_orders_that_make_no_sense(lab: Laboratory, fleet: Fleet) -> None:
    for order in (
        ["--wave", "everybody"],
        ["--tenant-id", str(ids.new_id())],
        ["--tenant-id", "acme"],
        ["--downgrade", "0815", "--yes"],
        ["--history", "yesterday"],
        ["--verify=none"],
        ["--jobs", "0"],
        ["--nonsense"],
    ):
        assert command(lab, *order).exit_code == 2, order


def test_a_second_run(lab: Laboratory, fleet: Fleet) -> None:
    with running.claimed(lab.manager):
        refused = command(lab, "--json")
    assert refused.exit_code == 3
    assert document(refused)["exit_code"] == 3


def test_migrations_that_fail_on_an_empty_database(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    release(Migration('op.execute("ALTER TABLE nowhere ADD COLUMN a int")'))
    refused = command(lab)
    assert refused.exit_code == 5
    assert "nowhere" in refused.stderr


def test_a_server_that_is_away(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lab.manager.server._address, "host", "/nowhere")
    assert command(lab).exit_code == 6


def test_going_down_is_asked_for_twice(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    assert command(lab).exit_code == 0
    assert command(lab, "--downgrade", HEAD, input="n\n").exit_code == 1
    assert revisions() == {after(1)}
    assert command(lab, "--downgrade", HEAD, "--yes").exit_code == 0
    assert revisions() == {HEAD}


def test_verifying_finds_drift_and_repairs_the_ledger(
    lab: Laboratory, fleet: Fleet, release: Release
) -> None:
    """A database that was restored from before: its ledger row believes that it is at the head."""
    release(column("colour"))
    command(lab)
    lab.manager.drop_tenant_database(fleet[0].location)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "TENANT", OLD)
        lab.manager.provision(fleet[0].location)
    with lab.manager.server.connect_as_owner(fleet[1].location.database) as connection:
        connection.execute("DROP INDEX ix_documents_file_id")
    found = command(lab, "--verify")
    assert found.exit_code == 1
    assert f"DIFFERS {fleet[0].slug} {fleet[0].tenant_id}: the ledger was wrong" in found.stdout
    assert "index public.ix_documents_file_id is missing" in found.stdout
    assert {each.tenant_id for each in entries() if each.revision == HEAD} == {fleet[0].tenant_id}
    assert "1 succeeded" in command(lab).stdout


def test_a_rehearsal(lab: Laboratory, fleet: Fleet, release: Release) -> None:
    release(column("colour"))
    shown = command(lab, "--rehearse")
    assert shown.exit_code == 0
    assert "3 rehearsed; no tenant was changed" in shown.stdout
    assert len(document(command(lab, "--rehearse=1", "--json"))["rehearsed"]) == 1
    assert revisions() == {HEAD}


def test_the_bar_ends_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli.draw_bar(1, 2, "canary")
    cli.draw_bar(2, 2, "rest")
    drawn = capsys.readouterr().err
    assert drawn.count("█") == 45
    assert drawn.endswith("2 of 2  rest\n")


def run_script(
    *arguments: str, settings: Settings | None = None
) -> "subprocess.CompletedProcess[str]":
    lab = None if settings is None else Laboratory(None, settings, "")  # type: ignore[arg-type]
    return subprocess.run(
        [sys.executable, PROJECT / "scripts" / "migrate_all_tenants.py", *arguments],
        env={} if lab is None else lab.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_script_is_the_command(lab: Laboratory, fleet: Fleet) -> None:
    helped = run_script("--help")
    assert helped.returncode == 0
    assert "Exit codes:" in helped.stdout
    unset = run_script()
    assert unset.returncode == 1
    assert "INSTALLATION_ID" in unset.stderr
    done = run_script("--json", settings=lab.settings)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["at_target"] == 5
