"""Change the key that signs access tokens, one step at a time; no valid token is refused.

Takes the steps that are due: a new key is made and published; once every process knows it, it
signs; once the last token of the old key has expired, the old key is removed. The periodic job
identity.rotate_keys does the same each hour; too early, either does nothing.

Exit codes: 0 done, also where nothing was due; 1 a setting is wrong; 2 wrong arguments.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "backend"))

from app.core import clock
from app.core.db import main_session
from app.domains.identity.service import rotation
from app.domains.identity.service.rotation import Key, Step
from app.factory import create_app
from app.settings import load_settings

_DONE = {"make": "made", "activate": "signs from now on", "remove": "removed"}
_AHEAD = {"make": "a new key is made", "activate": "signs", "remove": "is removed"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="only show the keys and what is ahead")
    what.add_argument("--dry-run", action="store_true", help="say what is due; change nothing")
    what.add_argument(
        "--leaked",
        action="store_true",
        help="a key is in wrong hands: a new one signs at once, and all others are removed, so"
        " that every access token is refused and clients have to refresh",
    )
    parser.add_argument(
        "--older-than-days",
        type=_days,
        metavar="DAYS",
        help="begin when the key that signs is older (default: SIGNING_KEY_DAYS; 0: now)",
    )
    parser.add_argument("--json", action="store_true", help="report as one JSON document")
    arguments = parser.parse_args()
    settings = load_settings()
    app, pace = create_app(settings), rotation.Pace.of(settings)
    oldest = arguments.older_than_days
    if oldest is None:
        oldest = timedelta(days=settings.signing_key_days)
    taken: list[Step] = []
    with app.app_context(), main_session() as session:
        secrets = app.extensions["secrets"]
        if arguments.leaked:
            taken = rotation.replace_all(session, secrets)
        elif not arguments.status and not arguments.dry_run:
            taken = rotation.advance(session, secrets, pace, oldest=oldest)
        session.flush()
        keys = rotation.list_keys(session)
        ahead = rotation.plan(keys, pace, oldest=oldest)
    if arguments.dry_run:
        ahead = [step for step in ahead if step.due_at <= clock.now()]
    print(_as_json(keys, taken, ahead) if arguments.json else _as_text(keys, taken, ahead))


def _days(text: str) -> timedelta:
    days = float(text)
    if not 0 <= days <= 36_500:  # noqa: PLR2004  # a century
        raise argparse.ArgumentTypeError("from 0 to 36500")
    return timedelta(days=days)


def _as_json(keys: Sequence[Key], taken: Sequence[Step], ahead: Sequence[Step]) -> str:
    def step(each: Step) -> dict[str, str | None]:
        return {"action": each.action, "kid": each.kid, "due_at": each.due_at.isoformat()}

    return json.dumps(
        {
            "keys": [
                {"kid": key.kid, "state": key.state, "since": key.since.isoformat()} for key in keys
            ],
            "taken": [step(each) for each in taken],
            "ahead": [step(each) for each in ahead],
        }
    )


def _as_text(keys: Sequence[Key], taken: Sequence[Step], ahead: Sequence[Step]) -> str:
    lines = [f"{key.kid}  {key.state:<8}  since {key.since:%Y-%m-%d %H:%M:%S} UTC" for key in keys]
    lines += [f"now:    {each.kid} {_DONE[each.action]}" for each in taken]
    lines += [
        f"ahead:  {each.kid or ''} {_AHEAD[each.action]} from {each.due_at:%Y-%m-%d %H:%M:%S} UTC"
        for each in ahead
    ]
    return "\n".join(lines or ["There is no key yet: run scripts/init_db.py."])


if __name__ == "__main__":
    main()
