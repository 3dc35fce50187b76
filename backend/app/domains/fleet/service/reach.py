"""What a run needs before its first tenant, and which servers it can reach.

The tenants of a server that is away are left, and the others go on.
"""

import logging
from typing import Self

from app.core.db import platform_session
from app.domains.tenants.service import ledger, pool
from app.tenancy import templates
from app.tenancy.manager import TenantDatabaseManager
from app.tenancy.migrations import tree
from app.tenancy.migrations.applying import MigrationFailed
from app.tenancy.server import ServerUnavailable
from app.tenancy.servers import DEFAULT_SERVER

logger = logging.getLogger(__name__)


def announce() -> None:
    """Tells older code which revisions it can serve, before any tenant is at one of them."""
    known = tree.current()
    with platform_session() as session:
        ledger.announce(session, {each.id: known.oldest_code(each.id) for each in known.revisions})


class Reach:
    """Grows with each server that is found away; none comes back before the next run."""

    def __init__(self, manager: TenantDatabaseManager) -> None:
        self._manager = manager
        self._away: set[str] = set()

    @classmethod
    def prepared(cls, manager: TenantDatabaseManager, *, downgrade: bool) -> Self:
        """Asks each server; upwards, who is born there from now on is at the newest revision.

        Raises:
            ServerUnavailable: the default server, which keeps the locks of runs, is away.
            MigrationFailed, TemplateBroken: the migrations fail on an empty database.
        """
        reach = cls(manager)
        for name, server in manager.servers.all().items():
            try:
                server.ping() if downgrade else templates.ensure(server)
            except ServerUnavailable:
                if name == DEFAULT_SERVER:
                    raise
                reach._leave(name)
        if manager.keeps_spares and not downgrade:
            with platform_session() as session:
                pool.ask_for_refill(session)
        return reach

    def is_away(self, name: str) -> bool:
        return name in self._away

    def explains(self, failure: MigrationFailed, name: str) -> bool:
        """Whether it came of the server's absence: asks the server itself."""
        if not isinstance(failure.__cause__, ServerUnavailable):
            return False
        try:
            self._manager.servers.of(name).ping()
        except ServerUnavailable:
            self._leave(name)
            return True
        return False

    def _leave(self, name: str) -> None:
        self._away.add(name)
        logger.warning("a server is away; its tenants are left", extra={"server": name})
