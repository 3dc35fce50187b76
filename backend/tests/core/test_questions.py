"""Questions give what psycopg gives, and outlive what happens to plans and connections."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, Select, bindparam, create_engine, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.types import BigInteger, DateTime, Text, Uuid

from app.core import liveness, questions
from app.core.db import sqlalchemy_url
from app.core.questions import Question

NOW = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)
ONE = UUID("0199c0de-0000-7000-8000-000000000001")


@pytest.fixture
def engine(admin_url: str) -> Iterator[Engine]:
    """With a single connection, so that each question finds what the one before it left."""
    engine = create_engine(sqlalchemy_url(admin_url), pool_size=1, max_overflow=0)
    liveness.watch(engine)
    yield engine
    engine.dispose()


def prepared(engine: Engine) -> int:
    ours = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'question%'"
    with engine.connect() as connection:
        return connection.scalar(text(ours)) or 0


@pytest.mark.parametrize("depends_on_values", [False, True])
def test_values_arrive_as_they_are(engine: Engine, *, depends_on_values: bool) -> None:
    given = {"id": ONE, "at": NOW, "many": 2**40, "tags": ["plan", "a,b\"{}'"], "no": None}
    kinds: dict[str, Any] = {
        "id": Uuid,
        "at": DateTime(timezone=True),
        "many": BigInteger,
        "tags": ARRAY(Text),
    }
    statement: Select[Any] = select(
        *(bindparam(name, type_=kinds.get(name, Text)) for name in given)
    )
    question = Question.of(
        select(statement.subquery(), func.upper(bindparam("word", type_=Text))),
        depends_on_values=depends_on_values,
    )
    for word in ("日本", "o'clock", "", "$1"):
        [row] = question.ask(engine, given | {"word": word})
        assert row == (ONE, NOW, 2**40, ["plan", "a,b\"{}'"], None, word.upper())
    assert prepared(engine) == (0 if depends_on_values else 1)


def test_what_a_migration_changes_is_asked_anew(engine: Engine) -> None:
    question = Question(b"SELECT * FROM pg_temp.asked")
    with engine.begin() as connection:
        connection.execute(text("CREATE TEMP TABLE asked AS SELECT 1 AS one"))
    assert question.ask(engine, {}) == [(1,)]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE pg_temp.asked ADD COLUMN two int DEFAULT 2"))
    assert question.ask(engine, {}) == [(1, 2)]
    with engine.begin() as connection:
        connection.execute(text("DEALLOCATE ALL"))
    assert question.ask(engine, {}) == [(1, 2)]
    assert prepared(engine) == 1


def test_a_connection_keeps_so_many_prepared(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_MOST_PREPARED", 3)
    asked = [Question(b"SELECT %d" % number) for number in range(5)]
    for _ in range(2):
        assert [question.ask(engine, {}) for question in asked] == [[(n,)] for n in range(5)]
        assert prepared(engine) == 3


def test_a_mistake_is_told_as_sqlalchemy_tells_it(engine: Engine) -> None:
    for wrong in (Question(b"SELECT 1 / 0"), Question(b"SELECT nothing", depends_on_values=True)):
        with pytest.raises(DBAPIError) as raised:
            wrong.ask(engine, {})
        assert not raised.value.connection_invalidated
    assert Question(b"SELECT pg_backend_pid()").ask(engine, {})


def test_a_connection_that_dies_in_a_question_is_replaced(engine: Engine) -> None:
    backend = Question(b"SELECT pg_backend_pid()")
    [(first,)] = backend.ask(engine, {})
    with pytest.raises(OperationalError) as raised:
        Question(b"SELECT pg_terminate_backend(pg_backend_pid())").ask(engine, {})
    assert raised.value.connection_invalidated
    [(second,)] = backend.ask(engine, {})
    assert second != first


def test_who_is_asked_in_vain_is_told_as_unavailable() -> None:
    away = create_engine(
        "postgresql+psycopg://nobody@127.0.0.1:1/none", connect_args={"connect_timeout": 2}
    )
    with pytest.raises(OperationalError) as raised:
        Question(b"SELECT 1").ask(away, {})
    assert raised.value.connection_invalidated
    away.dispose()
