"""Redis killed, silent and emptied."""

import time
from contextlib import ExitStack

import redis
import requests

from tests.cast import PASSWORD
from tests.faults.trial import Figures, Trial, fault
from tests.integrations.faults import Fault


@fault("Redis away, and emptied")
def away(trial: Trial) -> Figures:
    """Whoever has a token goes on; nobody signs in uncounted; no event and no job is lost."""
    stage = trial.stage
    server = stage.servers.redis
    with trial.load(files_every=0.5) as journal:
        time.sleep(1)
        begun = time.monotonic()
        stage.servers.kill(server)
        says = trial.says("redis", since=begun)
        assert _sign_in(trial) == 503, "somebody signs in, and nobody counts"
        time.sleep(trial.form.away_seconds)
        begun = time.monotonic()
        stage.servers.start(server)
        recovers = trial.recovers(since=begun)
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        time.sleep(1)
        assert not journal.refused(), journal.refused()
    assert _sign_in(trial) == 200
    return {"said after": says, "ready after": recovers}


@fault("Redis silent", short=False)
def silent(trial: Trial) -> Figures:
    with trial.load() as journal, ExitStack() as stack:
        begun = time.monotonic()
        stack.enter_context(trial.stage.servers.broken("redis", Fault.HELD))
        says = trial.says("redis", since=begun)
        time.sleep(trial.form.away_seconds)
        stack.close()
        recovers = trial.recovers(since=time.monotonic())
        assert not journal.refused(), journal.refused()
    return {"said after": says, "ready after": recovers, "slowest": journal.slowest}


def _sign_in(trial: Trial) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{trial.stage.programs.url}/api/auth/login",
            json={"email": trial.stage.tenants[0].person.email, "password": PASSWORD},
            timeout=20,
        ).status_code
