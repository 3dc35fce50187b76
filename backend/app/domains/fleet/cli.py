"""``flask tenants migrate``, which is also scripts/migrate_all_tenants.py."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy.exc import OperationalError

from app.core.db import platform_session
from app.core.errors import AppError
from app.domains.fleet.errors import BadOrder, NothingToResume, RunInProgress
from app.domains.fleet.models import RunStatus
from app.domains.fleet.service import history, inspecting, planning, rehearsing, running, waves
from app.domains.fleet.service.history import RunRecord
from app.domains.fleet.service.planning import Order
from app.domains.fleet.service.running import Ended, Progress
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager, current_manager
from app.tenancy.migrations.applying import MigrationFailed
from app.tenancy.templates import TemplateBroken

group: Final = AppGroup("tenants", help="Work on the tenants' databases.")

EXIT_CODES: Final = """\b
Exit codes:
  0  every tenant asked for is at the target (or the plan, rehearsal or history was shown)
  1  tenants failed, a rehearsal failed, or --verify found a difference
  2  the order cannot be understood
  3  another process migrates the fleet
  4  stopped early: a canary failed, or more tenants than --max-failures
  5  the migrations fail on an empty database already; no tenant was touched
  6  a server that is needed is away
  130  interrupted; --resume goes on
"""
_EXIT_CODE: Final = {
    RunStatus.SUCCEEDED: 0,
    RunStatus.FAILED: 1,
    RunStatus.STOPPED: 4,
}
_BAR_WIDTH: Final = 30


@dataclass(frozen=True)
class Speaker:
    """Tells people on the way and at the end, or programs in one JSON document at the end."""

    as_json: bool

    def say(self, text: str) -> None:
        if not self.as_json:
            click.echo(text)

    def close(self, document: Mapping[str, Any]) -> None:
        if self.as_json:
            click.echo(json.dumps(document, default=str))

    def show(self, progress: Progress) -> None:
        outcome = progress.outcome
        if outcome.error is not None and not self.as_json:
            _clear_bar()
            entry = outcome.entry
            click.echo(f"{outcome.status.upper()} {entry.slug} {entry.tenant_id}: {outcome.error}")
        if sys.stderr.isatty():
            draw_bar(progress.done, progress.total, progress.wave)


def draw_bar(done: int, total: int, label: str) -> None:
    """One line on a terminal, drawn over itself, ended with the last of the total."""
    filled = _BAR_WIDTH * done // max(total, 1)
    bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
    end = "\n" if done >= total else ""
    click.echo(f"\r\x1b[K{bar} {done} of {total}  {label}{end}", err=True, nl=False)


def _clear_bar() -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)


def _read_verify(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> int | None:
    """How many tenants to verify: None for none, 0 for all."""
    if value is None:
        return None
    if value == "all":
        return 0
    if not value.isdigit() or not int(value):
        raise click.BadParameter("give a number of tenants, or nothing for all of them")
    return int(value)


@group.command(epilog=EXIT_CODES)
@click.option("--dry-run", is_flag=True, help="Show who would go where, and by which SQL.")
@click.option(
    "--rehearse",
    type=click.IntRange(1),
    is_flag=False,
    flag_value=3,
    metavar="[N]",
    help="Try it on copies of the N largest tenants (3), timed; the copies are dropped.",
)
@click.option("--tenant-id", "tenant_ids", type=click.UUID, multiple=True, help="Only this one.")
@click.option("--wave", default="rest", help="Such as canary,5%,rest. Default: all at once.")
@click.option(
    "--canary",
    "canaries",
    multiple=True,
    help="An id, a slug, tag:WORD, smallest:N or largest:N. Default: smallest:1.",
)
@click.option("--jobs", type=click.IntRange(1, 100), help="Tenants at the same time.")
@click.option(
    "--max-failures",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Stop when more tenants than this have failed.",
)
@click.option("--resume", is_flag=True, help="Go on with the newest run where it ended.")
@click.option("--downgrade", metavar="REVISION", help="Go down to it. Loses what it drops.")
@click.option("--yes", is_flag=True, help="Do not ask before going down.")
@click.option(
    "--verify",
    is_flag=False,
    flag_value="all",
    callback=_read_verify,
    metavar="[N]",
    help="Afterwards compare the catalogs of N tenants, or all, and repair the ledger.",
)
@click.option(
    "--history",
    "history_of",
    is_flag=False,
    flag_value="all",
    metavar="[RUN]",
    help="Show the newest runs, or what became of each tenant in one.",
)
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON document.")
@click.pass_context
def migrate(context: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """Bring every tenant's database to the newest revision.

    One run at a time. A tenant is migrated in one transaction; a failure is recorded and stops
    nobody else; a run that was killed goes on with --resume.
    """
    speaker = Speaker(as_json)
    try:
        code = _do(speaker, options)
    except AppError as error:
        known = {BadOrder: 2, NothingToResume: 2, RunInProgress: 3}
        code = _refuse(speaker, error.detail, known.get(type(error), 6))
    except OperationalError as error:
        code = _refuse(speaker, f"The main database: {str(error.orig).strip()}", 6)
    except (MigrationFailed, TemplateBroken) as error:
        code = _refuse(speaker, f"The migrations fail on an empty database: {error}", 5)
    except KeyboardInterrupt:
        code = _refuse(speaker, "Interrupted; --resume goes on.", 130)
    context.exit(code)


def _refuse(speaker: Speaker, words: str, code: int) -> int:
    if not speaker.as_json:
        click.echo(words, err=True)
    speaker.close({"error": words, "exit_code": code})
    return code


def _do(speaker: Speaker, options: dict[str, Any]) -> int:
    if options["history_of"] is not None:
        return _show_history(speaker, options["history_of"])
    manager, order = current_manager(), _order(options)
    if options["dry_run"]:
        return _show_plan(manager, speaker, order)
    if options["rehearse"]:
        return _rehearse(manager, speaker, order, largest=options["rehearse"])
    if order.downgrade_to is not None and not options["yes"]:
        click.confirm(f"Go down to {order.downgrade_to} and lose what that drops?", abort=True)
    if options["resume"]:
        ended = running.resume(manager, tell=speaker.show)
    else:
        ended = running.start(manager, order, tell=speaker.show)
    code = _EXIT_CODE[ended.status]
    differing: list[str] = []
    if options["verify"] is not None:
        differing = _verify(manager, speaker, order, options["verify"])
        code = code or (1 if differing else 0)
    _tell_end(speaker, ended, differing)
    return code


def _order(options: dict[str, Any]) -> Order:
    settings: Settings = current_app.extensions["settings"]
    return Order(
        downgrade_to=options["downgrade"],
        tenant_ids=options["tenant_ids"],
        waves=tuple(waves.read_waves(options["wave"])),
        canaries=options["canaries"],
        jobs=options["jobs"] or settings.fleet_jobs,
        max_failures=options["max_failures"],
    )


def _show_plan(manager: TenantDatabaseManager, speaker: Speaker, order: Order) -> int:
    planned = planning.plan(manager, order)
    rendered = planning.render(manager, planned)
    speaker.say(f"target {order.target}: {planned.at_target} tenant(s) need nothing")
    for wave in planned.waves:
        speaker.say(f"wave {wave.name}: {len(wave.entries)} tenant(s)")
        for entry in wave.entries:
            speaker.say(f"  {entry.tenant_id} {entry.slug}: {entry.revision} to {order.target}")
    for source, statements in rendered.items():
        speaker.say(f"\n-- from {source or 'nothing'} to {order.target}")
        for statement in statements:
            speaker.say(statement)
    speaker.close(
        {
            "target": order.target,
            "at_target": planned.at_target,
            "waves": [
                {
                    "name": wave.name,
                    "tenants": [
                        {"id": each.tenant_id, "slug": each.slug, "from": each.revision}
                        for each in wave.entries
                    ],
                }
                for wave in planned.waves
            ],
            "sql": rendered,
        }
    )
    return 0


def _rehearse(
    manager: TenantDatabaseManager, speaker: Speaker, order: Order, *, largest: int
) -> int:
    rehearsed = []
    for each in rehearsing.rehearse(manager, order, largest=largest):
        rehearsed.append(each)
        speaker.say(
            f"{each.database}: {each.size / 1e6:.1f} MB, copied in {each.copied_in:.1f} s,"
            f" migrated in {each.migrated_in:.2f} s{f': {each.error}' if each.error else ''}"
        )
    speaker.say(f"{len(rehearsed)} rehearsed; no tenant was changed")
    speaker.close({"rehearsed": [_plain(each) for each in rehearsed]})
    return 1 if any(each.error for each in rehearsed) else 0


def _verify(
    manager: TenantDatabaseManager, speaker: Speaker, order: Order, sample: int
) -> list[str]:
    differing = []
    for each in inspecting.inspect(
        manager,
        jobs=order.jobs,
        tenant_ids=list(order.tenant_ids) or None,
        sample=sample or None,
        repair_ledger=True,
    ):
        if not each.is_well:
            differing.append(str(each.entry.tenant_id))
            told = [each.error or ""] if each.error else [one.words for one in each.differences]
            told += ["the ledger was wrong"] if each.ledger_is_wrong else []
            speaker.say(f"DIFFERS {each.entry.slug} {each.entry.tenant_id}: {'; '.join(told)}")
    return differing


def _tell_end(speaker: Speaker, ended: Ended, differing: Sequence[str]) -> None:
    if ended.run_id is None:
        speaker.say(f"Nothing to do: {ended.at_target} tenant(s) are at the target.")
    else:
        counts = ", ".join(f"{count} {status}" for status, count in ended.counts.items() if count)
        speaker.say(f"{ended.status}: {counts or 'nobody'} (run {ended.run_id})")
    speaker.close(
        {
            "run_id": ended.run_id,
            "status": ended.status,
            "counts": ended.counts,
            "at_target": ended.at_target,
            "differing": differing,
        }
    )


def _show_history(speaker: Speaker, which: str) -> int:
    with platform_session() as session:
        if which == "all":
            runs = history.newest(session, limit=20)
        else:
            runs = [history.one(session, _run_id(which))]
        for run in runs:
            _tell_run(speaker, run)
        speaker.close({"runs": [_plain(run) for run in runs]})
    return 0


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise BadOrder(f"{text!r} is no id of a run.") from None


def _tell_run(speaker: Speaker, run: RunRecord) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in run.counts.items() if count)
    speaker.say(f"{run.id} {run.started_at:%Y-%m-%d %H:%M} to {run.target}: {run.status}, {counts}")
    for each in run.results:
        took = "" if each.seconds is None else f" in {each.seconds:.2f} s"
        speaker.say(
            f"  {each.status:<9} {each.tenant_id} {each.source} to {each.target}{took},"
            f" {each.attempts} attempt(s){f': {each.error}' if each.error else ''}"
        )


def _plain(record: Any) -> dict[str, Any]:
    """A record's fields as a document; a result's without what SQLAlchemy keeps in it."""
    if hasattr(record, "__table__"):
        return {column.key: getattr(record, column.key) for column in record.__table__.columns}
    names = record.__dataclass_fields__
    plain = {name: getattr(record, name) for name in names}
    if "results" in plain:
        plain["results"] = [_plain(each) for each in plain["results"]]
    return plain
