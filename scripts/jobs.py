"""Look into the table of jobs; start a job that was given up again, or drop one.

list shows what is not done, the newest last; retry and drop take ids. A retried job runs as soon as
the scheduler's next round has seen it.

Exit codes: 0 done; 1 a job could not be retried or dropped, or a setting is wrong; 2 wrong
arguments.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import MainSession, platform_session
from app.core.errors import AppError
from app.domains.jobs.models import Job, JobState
from app.domains.jobs.service import records
from app.factory import create_app
from app.settings import load_settings

NOT_DONE = (JobState.WAITING, JobState.RUNNING, JobState.FAILED)


def main() -> None:
    arguments = read_arguments()
    with create_app(load_settings()).app_context():
        if arguments.verb == "list":
            with platform_session() as session:
                states = arguments.state or NOT_DONE
                found = records.list_jobs(session, states=states, limit=arguments.limit)
            report([as_dict(job) for job in reversed(found)], as_json=arguments.json)
            return
        verb = {"retry": records.retry, "drop": records.drop}[arguments.verb]
        outcomes = [decide(verb, job_id) for job_id in arguments.ids]
    report(outcomes, as_json=arguments.json)
    sys.exit(1 if any("refused" in outcome for outcome in outcomes) else 0)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|retry|drop")
    shown = verbs.add_parser("list", help="what waits, runs or failed")
    shown.add_argument("--state", action="append", type=JobState, choices=list(JobState))
    shown.add_argument("--limit", type=int, default=100, help="at most so many (100)")
    for name, meaning in (
        ("retry", "make due at once, with all attempts"),
        ("drop", "see to it that it never runs"),
    ):
        verbs.add_parser(name, help=meaning).add_argument("ids", nargs="+", type=UUID, metavar="id")
    for verb in verbs.choices.values():
        verb.add_argument("--json", action="store_true", help="report as one JSON document")
    return parser.parse_args()


def decide(verb: Callable[..., Job], job_id: UUID) -> dict[str, Any]:
    """Each job in a transaction of its own: one that is refused leaves the others alone."""
    try:
        with platform_session() as session:
            return as_dict(decided(verb, session, job_id))
    except AppError as error:
        return {"id": str(job_id), "refused": error.detail}


def decided(verb: Callable[..., Job], session: MainSession, job_id: UUID) -> Job:
    job = verb(session, job_id=job_id)
    session.flush()
    session.refresh(job)  # the database's clock said when
    return job


def as_dict(job: Job) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "name": job.name,
        "queue": job.queue,
        "tenant_id": job.tenant_id and str(job.tenant_id),
        "arguments": job.arguments,
        "state": job.state,
        "attempts": job.attempts,
        "due_at": job.due_at.isoformat(),
        "finished_at": job.finished_at and job.finished_at.isoformat(),
        "last_error": job.last_error,
    }


def report(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        if "refused" in row:
            print(f"{row['id']}  refused: {row['refused']}")
            continue
        over = row["finished_at"]
        print(
            f"{row['id']}  {row['state']:<7}  {row['name']}  tenant {row['tenant_id'] or '-'}"
            f"  attempts {row['attempts']}  {'over' if over else 'due'} {over or row['due_at']}"
            f"  {row['last_error'] or ''}".rstrip()
        )
    print(f"{len(rows)} job(s)")


if __name__ == "__main__":
    main()
