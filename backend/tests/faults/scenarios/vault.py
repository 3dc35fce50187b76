"""Vault sealed while the API runs with it."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import requests

from embedded.ports import LOOPBACK
from embedded.real import vault_program
from embedded.vault import VaultServer
from tests.core.live import environment_of
from tests.faults.stage import Stage
from tests.faults.trial import Figures, Trial, fault
from tests.integrations.faults import faulty
from tests.integrations.vault.rooms import Strongroom


@fault("Vault sealed", short=False)
def sealed(trial: Trial) -> Figures:
    """What the API holds goes on; what needs a new secret waits, and gets no lesser one."""
    programs = trial.stage.programs
    if (binary := vault_program()) is None:
        pytest.fail("Vault is required: scripts/services.py install vault")
    with (
        TemporaryDirectory() as folder,
        VaultServer(Path(folder, "vault"), binary=binary) as vault,
        faulty(LOOPBACK, vault.port) as proxy,
    ):
        room = Strongroom(vault.root(), "faults", {})
        changes: dict[str, Any] = room.changes() | {"vault_addr": proxy.url}
        told = environment_of(programs.settings.model_copy(update=changes))
        programs.stop("api")
        programs.start("api", **told)
        try:
            with trial.load() as journal:
                begun = time.monotonic()
                vault.root().sys.seal()
                says = trial.says("vault", since=begun)
                assert _new_tenant(trial.stage) == 503
                time.sleep(trial.form.away_seconds)
                assert not journal.refused(), journal.refused()
                begun = time.monotonic()
                vault.unseal()
                recovers = trial.recovers(since=begun)
        finally:
            programs.stop("api")
            programs.start("api")
    return {"said after": says, "ready after": recovers}


def _new_tenant(stage: Stage) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{stage.programs.url}/api/tenants",
            json={"name": "Hooli", "slug": f"hooli-{uuid4().hex[:8]}"},
            headers=stage.tenants[0].person.headers,
            timeout=30,
        ).status_code
