"""Look at the events that were given up; have some tried again, or forget them.

list shows dead letters, the oldest first; with --parked also what is tried again by itself. replay
and drop take ids; replay --all takes the range that its options limit.

Exit codes: 0 done; 1 one could not be replayed or dropped; 2 wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core.db import MainSession, platform_session
from app.core.errors import AppError
from app.domains.outbox.models import LetterState, Undelivered
from app.domains.outbox.service import letters
from app.factory import create_app
from app.settings import load_settings


def main() -> None:
    arguments = read_arguments()
    with create_app(load_settings()).app_context():
        if arguments.verb == "list":
            report(listed(arguments), as_json=arguments.json)
            return
        if arguments.verb == "replay" and arguments.all:
            count = replay_all(arguments)
            print(json.dumps({"replayed": count}) if arguments.json else f"{count} replayed")
            return
        verb = {"replay": letters.replay, "drop": letters.drop}[arguments.verb]
        outcomes = [decide(verb, letter_id) for letter_id in arguments.ids]
    report(outcomes, as_json=arguments.json)
    sys.exit(1 if any("refused" in outcome for outcome in outcomes) else 0)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="list|replay|drop")
    shown = verbs.add_parser("list", help="what was given up")
    shown.add_argument("--parked", action="store_true", help="also what is tried again by itself")
    shown.add_argument("--limit", type=int, default=100, help="at most so many (100)")
    replay = verbs.add_parser("replay", help="try again at once, with all attempts")
    replay.add_argument("--all", action="store_true", help="all of the range")
    for each in (replay, verbs.add_parser("drop", help="forget for good")):
        each.add_argument("ids", nargs="*", type=UUID, metavar="id")
    for each in (shown, replay):
        each.add_argument("--tenant-id", type=UUID)
        each.add_argument("--consumer", help="the handler's name")
        each.add_argument("--since", type=moment, help="put aside then or later, ISO 8601")
        each.add_argument("--until", type=moment, help="put aside before then")
    for each in verbs.choices.values():
        each.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    if arguments.verb != "list" and bool(arguments.ids) == getattr(arguments, "all", False):
        parser.error("name ids, or a range with replay --all")
    return arguments


def moment(text: str) -> datetime:
    """Without a zone it is in UTC."""
    given = datetime.fromisoformat(text)
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("tenant_id", "consumer", "since", "until")}


def listed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    states = [LetterState.DEAD, *([LetterState.PARKED] if arguments.parked else [])]
    with platform_session() as session:
        found = letters.letters(session, states=states, limit=arguments.limit, **chosen(arguments))
        return [as_dict(letter) for letter in found]


def replay_all(arguments: argparse.Namespace) -> int:
    """In transactions of a thousand."""
    total = 0
    while True:
        with platform_session() as session:
            count = letters.replay_range(session, **chosen(arguments))
        total += count
        if count < letters.MOST_AT_ONCE:
            return total


def decide(verb: Callable[..., Undelivered], letter_id: UUID) -> dict[str, Any]:
    """Each in a transaction of its own: one that is refused leaves the others alone."""
    try:
        with platform_session() as session:
            return as_dict(decided(verb, session, letter_id))
    except AppError as error:
        return {"id": str(letter_id), "refused": error.detail}


def decided(verb: Callable[..., Undelivered], session: MainSession, letter_id: UUID) -> Undelivered:
    letter = verb(session, letter_id=letter_id)
    if verb is letters.replay:
        session.flush()
        session.refresh(letter)  # the database's clock said when
    return letter


def as_dict(letter: Undelivered) -> dict[str, Any]:
    return {
        "id": str(letter.id),
        "state": letter.state,
        "consumer": letter.consumer,
        "type": letter.type,
        "event_id": letter.event_id and str(letter.event_id),
        "tenant_id": letter.tenant_id and str(letter.tenant_id),
        "key": letter.key,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "attempts": letter.attempts,
        "last_error": letter.last_error,
        "created_at": letter.created_at.isoformat(),
        "due_at": letter.due_at.isoformat(),
    }


def report(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        if "refused" in row:
            print(f"{row['id']}  refused: {row['refused']}")
            continue
        place = "" if row["offset"] is None else f" {row['partition']}:{row['offset']}"
        print(
            f"{row['id']}  {row['state']:<6}  {row['consumer'] or '-'}  {row['type'] or '-'}"
            f"  key {row['key']}  {row['topic']}{place}  attempts {row['attempts']}"
            f"  since {row['created_at']}  {row['last_error'] or ''}".rstrip()
        )
    print(f"{len(rows)} event(s)")


if __name__ == "__main__":
    main()
