"""The checks find what they are there for: each protection is taken away once.

What these leave behind is wrong for good, so they come last.
"""

import signal
import time

import redis

from tests.faults import canaries, invariants
from tests.faults.servers import until
from tests.faults.stage import Stage
from tests.faults.trial import Figures, Trial, fault


@fault("control: canaries and secrets are found wherever they are", control=True)
def planted(trial: Trial) -> Figures:
    stage = trial.stage
    strange, house = stage.tenants[0].canary, stage.tenants[1].house
    found = 0
    with stage.as_superuser(house.database) as connection:
        connection.execute("UPDATE documents SET tags = tags || %s::text", (strange,))
    bucket = stage.servers.objects / str(stage.settings.s3_bucket)
    stray = bucket / "tenants" / house.database / "files" / "stray"
    stray.write_text(strange)
    with redis.Redis.from_url(stage.servers.redis.url) as client:
        client.set("planted", strange)
    with (stage.programs.folder / "planted.log").open("w", encoding="utf-8") as log:
        log.write(f'{strange}\n{min(stage.secrets)}\n{{"trace": "Traceback"}}\n')
    told = "\n".join(canaries.strangers(stage))
    for place in ("documents", "the object", "in Redis", "canary in planted.log", "secret 0"):
        assert place in told, f"{place} is not in: {told}"
        found += 1
    assert any("planted" in each for each in canaries.traces(stage, after={}))
    assert any("stray" in each for each in invariants.stray_and_missing_objects(stage))
    stray.unlink()
    (stage.programs.folder / "planted.log").unlink()
    return {"places": found}


@fault("control: without an outbox row it is noticed", control=True)
def without_row(trial: Trial) -> Figures:
    stage = trial.stage
    with stage.as_superuser(stage.tenants[0].house.database) as connection:
        connection.execute(
            "DELETE FROM outbox WHERE id = (SELECT id FROM outbox"
            " WHERE type = 'document.uploaded.v1' ORDER BY position LIMIT 1)"
        )
    found = invariants.rows_without_event(stage)
    assert len(found) == 2, found
    return {"findings": len(found)}


@fault("control: without an inbox effects are doubled", short=False, control=True)
def without_inbox(trial: Trial) -> Figures:
    """Everything is sent twice, for the relay dies before it has noted that."""
    stage = trial.stage
    programs = stage.programs
    programs.stop("relay", "consumer")
    with stage.load(files_every=0.1):
        time.sleep(1)
    programs.start_careless("consumer", "consumer without inbox")
    programs.start_careless("relay", "relay that forgets")
    programs.wait_for_end("relay")
    programs.start("relay")
    _until_found(stage, "2 jobs")
    programs.stop("consumer")
    programs.start("consumer")
    return {"findings": len(invariants.lost_and_doubled(stage))}


@fault("control: a relay that does not wait for Kafka loses events", short=False, control=True)
def without_waiting(trial: Trial) -> Figures:
    stage = trial.stage
    programs = stage.programs
    programs.stop("relay")
    with stage.load(files_every=0.1):
        time.sleep(1)
    programs.start_careless("relay", "relay that trusts")
    programs.wait_for_end("relay")
    programs.start("relay")
    _until_found(stage, "no effect of")
    return {"findings": len(invariants.lost_and_doubled(stage))}


def _until_found(stage: Stage, what: str) -> None:
    until(lambda: any(what in each for each in invariants.lost_and_doubled(stage)), what)


@fault("control: without synchronous_commit a kill loses acknowledged writes", control=True)
def unsynchronised(trial: Trial) -> Figures:
    stage = trial.stage
    servers = stage.servers
    servers.configure_postgres(synchronous_commit="off", wal_writer_delay="10s")
    with trial.load() as journal:
        until(lambda: journal.writes > 200, "writes")
        servers.kill(servers.postgres, signal.SIGKILL)
    servers.start(servers.postgres)
    lost = invariants.missing_writes(stage, journal)
    assert lost, "nothing was lost, so the comparison proves nothing"
    return {"acknowledged": journal.writes, "lost": len(lost)}
