"""Another process of an installation: does what it is told, and dies when it is told to.

Run with the settings in the environment. Reads one JSON document per line, ``{"do": …}``, and
answers each with one; `Understudy` is the other end.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.core import db
from app.core.errors import AppError
from app.domains.fleet.errors import NothingToResume
from app.domains.fleet.service import running
from app.domains.fleet.service.planning import Order
from app.domains.tenants.service import deletion, lifecycle, pool
from app.factory import create_app
from app.integrations.storage import current_storage
from app.settings import load_settings
from app.tenancy import templates
from app.tenancy.manager import TenantDatabaseManager, current_manager
from app.tenancy.migrations.tree import Tree
from app.tenancy.sessions import TenantSession
from tests.domains.fleet.trees import released

Answer = dict[str, Any]


class Company:
    """What the process does, by the name of the method."""

    def __init__(self, manager: TenantDatabaseManager) -> None:
        self.manager = manager
        self.stack = ExitStack()
        self.held: TenantSession | None = None

    def hold(self, database: str) -> Answer:
        """Opens a session and keeps it open, its transaction begun."""
        self.held = self.stack.enter_context(self.manager.tenant_db_session(database))
        return self.ask()

    def ask(self) -> Answer:
        """A statement in the session that is held."""
        assert self.held is not None
        return {"backend": self.held.scalar(text("SELECT pg_backend_pid()"))}

    def let_go(self) -> Answer:
        self.stack.close()
        return {}

    def use(self, database: str) -> Answer:
        """A session of its own for one statement."""
        with self.manager.tenant_db_session(database) as session:
            return {"backend": session.scalar(text("SELECT pg_backend_pid()"))}

    def fork(self, database: str) -> Answer:
        """The backends of parent, child, and parent again."""
        parent = self.use(database)
        child = in_child(lambda: self._child(database))
        return {"parent": parent, "child": child, "again": self.use(database)}

    def _child(self, database: str) -> Answer:
        self.manager.forget_connections()
        db.forget_connections()
        gc.collect()
        return self.use(database)

    def die(self, verb: str, at: int, arguments: dict[str, str]) -> Answer:
        """A verb in a child that is killed at its n-th exchange with a server, if it has as many.

        The statement has left by then, and its answer has not been read.
        """
        verbs: dict[str, Callable[..., object]] = {
            "create": lambda **given: lifecycle.create_tenant(self.manager, **given),
            "delete": lambda **given: deletion.delete(
                self.manager, grace=timedelta(days=30), **given
            ),
            "restore": lambda **given: deletion.restore(self.manager, **given),
            "purge": lambda **given: deletion.purge(self.manager, current_storage(), **given),
            "suspend": lambda **given: lifecycle.suspend(self.manager, **given),
            "resume": lambda **given: lifecycle.resume(self.manager, **given),
            "migrate_fleet": self._migrate_fleet,
            "refill": lambda size: pool.refill(self.manager, size=int(size)),
            "build_template": lambda: templates.ensure(self.manager.server),
        }
        given = {
            name: UUID(value) if name.endswith("_id") else value
            for name, value in arguments.items()
        }

        def doomed() -> Answer:
            die_at_exchange(at)
            verbs[verb](**given)
            return {"died": False}

        return in_child(doomed) or {"died": True}

    def _migrate_fleet(self, tree: str, jobs: str) -> None:
        """As code that ships with the tree: goes on with a run that was killed, or begins one."""
        with released(Tree(Path(tree))):
            try:
                running.resume(self.manager, tell=lambda _: None)
            except NothingToResume:
                running.start(self.manager, Order(jobs=int(jobs)), tell=lambda _: None)


def in_child(work: Callable[[], Answer]) -> Answer:
    """The work's answer, done in a forked child; empty where the child did not live to tell."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001  # told of by the parent
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        told: Answer = json.loads(pipe.read() or "{}")
    return told


def die_at_exchange(number: int) -> None:
    """Every statement, COMMITs too, passes through `psycopg.Connection.wait`.

    So does the end of a transaction that was never begun, which asks nothing of the server.
    """
    wait: Any = psycopg.Connection.wait
    passed = 0

    def counting(self: Any, exchange: Any, *rest: Any, **more: Any) -> Any:
        nonlocal passed
        idle = self.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        passed += not (idle and exchange.__name__ in {"_commit_gen", "_rollback_gen"})
        if passed == number:
            next(exchange)
            os.kill(os.getpid(), signal.SIGKILL)
        return wait(self, exchange, *rest, **more)

    psycopg.Connection.wait = counting  # type: ignore[method-assign,assignment]


def main() -> None:
    with create_app(load_settings()).app_context():
        company = Company(current_manager())
        with db.main_session() as session:
            session.scalar(text("SELECT 1"))  # what SQLAlchemy asks at first is asked here
        db.db.engine.dispose()
        for line in sys.stdin:
            order = json.loads(line)
            try:
                answer = getattr(company, order.pop("do"))(**order)
            except (AppError, SQLAlchemyError) as error:
                answer = {"error": type(error).__name__}
            print(json.dumps(answer), flush=True)  # noqa: T201  # the protocol


if __name__ == "__main__":
    main()
