"""SQL of migrations, made once for all tenants.

Alembic's ``op`` is a module-level proxy, so one thread at a time uses it: here, and nowhere else.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection as SqlalchemyConnection
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from app.tenancy.migrations.tree import Revision, Tree
from app.tenancy.names import Installation
from app.tenancy.server import Connection

_one_at_a_time: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Step:
    """One revision passed, up or down. ``statements`` is None where it runs Python instead."""

    revision: Revision
    upwards: bool
    statements: tuple[str, ...] | None

    @property
    def source(self) -> str | None:
        return self.revision.down if self.upwards else self.revision.id

    @property
    def target(self) -> str | None:
        return self.revision.id if self.upwards else self.revision.down

    def as_text(self) -> list[str]:
        """For people: the statements, and where they leave a transaction or SQL."""
        notes = [f"-- {self.revision.id} {'up' if self.upwards else 'down'}: {self.revision.title}"]
        if self.revision.autocommit:
            notes.append("-- each statement on its own, in no transaction")
        if self.statements is None:
            notes.append("-- Python, at each tenant")
        return [*notes, *(self.statements or ())]

    @property
    def verb(self) -> Callable[[], None]:
        return self.revision.upgrade if self.upwards else self.revision.downgrade


class WrongDirection(RuntimeError):
    """The database lies beyond the target."""


class Recipe:
    """How to bring any database to one revision; each step is rendered once.

    It leads in one direction only: going down drops what going up has made, and is asked for.
    """

    def __init__(
        self,
        tree: Tree,
        installation: Installation,
        target: str | None,
        *,
        downwards: bool = False,
    ) -> None:
        self.tree = tree
        self.installation = installation
        self.target = target
        self.downwards = downwards
        self._rendered: dict[tuple[str, bool], Step] = {}
        self._rendering = threading.Lock()

    def steps_from(self, source: str | None) -> list[Step]:
        """The steps of a database that is at the source.

        Raises:
            UnknownRevision: source or target is none of the tree's.
            WrongDirection: the target lies on the other side.
        """
        off = self.tree.place(self.target) - self.tree.place(source)
        if off and (off < 0) is not self.downwards:
            raise WrongDirection(f"the database is at {source}, beyond {self.target}")
        with self._rendering:
            return [self._step(*each) for each in self.tree.way(source, self.target)]

    def run(self, step: Step, connection: Connection) -> None:
        """Runs a step's Python at one tenant, in the transaction that is open there."""
        with _borrowed(connection) as borrowed:
            self._perform(step.verb, MigrationContext.configure(borrowed, opts=self._options()))

    def _step(self, revision: Revision, upwards: bool) -> Step:  # noqa: FBT001  # as `way` has it
        key = (revision.id, upwards)
        if key not in self._rendered:
            step = Step(revision, upwards, None)
            if not revision.per_tenant:
                step = Step(revision, upwards, self._render(step.verb))
            self._rendered[key] = step
        return self._rendered[key]

    def _render(self, verb: Callable[[], None]) -> tuple[str, ...]:
        listener = _Listener()
        context = MigrationContext.configure(
            dialect_name="postgresql",
            # Without parameters nothing makes one percent sign out of two.
            dialect_opts={"paramstyle": "named"},
            opts=self._options()
            | {"as_sql": True, "literal_binds": True, "output_buffer": listener},
        )
        self._perform(verb, context)
        return tuple(listener.statements)

    def _perform(self, verb: Callable[[], None], context: MigrationContext) -> None:
        with _one_at_a_time, Operations.context(context):
            verb()

    def _options(self) -> dict[str, Any]:
        # Migrations read role names from here: op.get_context().opts["installation"].
        return {"installation": self.installation}


class _Listener:
    """What Alembic takes for a file: it writes one statement at a time."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        self.statements.append(text.strip())

    def flush(self) -> None:
        """Nothing is held back."""


@contextmanager
def _borrowed(connection: Connection) -> Iterator[SqlalchemyConnection]:
    """SQLAlchemy's view of a connection whose transaction stays with its lender."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
        use_native_hstore=False,
        hide_parameters=True,
    )
    for name in ("do_commit", "do_rollback", "do_close"):
        setattr(engine.dialect, name, lambda _connection: None)
    with engine.connect() as borrowed:
        yield borrowed
