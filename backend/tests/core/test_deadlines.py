"""A request's time: its SQL is cancelled when it is over, and nothing else is."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app.core import background, deadlines
from app.core.db import ask_main, main_reads, main_session
from app.core.deadlines import DeadlineExceeded, Limit
from app.core.http import PUBLIC, endpoint, stated_endpoint
from app.core.questions import Question
from app.settings import Settings
from tests.cast import House
from tests.core.apps import another_app

SLEEP = "SELECT pg_sleep(20)"
LIMIT = Limit(seconds=0.4, statement=30)


def in_a_transaction(_: Flask, __: House) -> None:
    with main_session() as session:
        session.execute(text(SLEEP))


def without_one(_: Flask, __: House) -> None:
    with main_reads() as connection:
        connection.execute(text(SLEEP))


def asked(_: Flask, __: House) -> None:
    ask_main(Question.of(text(SLEEP)), {})


def of_a_tenant(app: Flask, house: House) -> None:
    with app.extensions["tenancy"].tenant_db_session(house.database) as session:
        session.execute(text(SLEEP))


def read_of_a_tenant(app: Flask, house: House) -> None:
    with app.extensions["tenancy"].tenant_reads(house.database) as session:
        session.execute(text(SLEEP))


WAYS = [in_a_transaction, without_one, asked, of_a_tenant, read_of_a_tenant]


@pytest.mark.parametrize("way", WAYS)
def test_sql_ends_with_the_time(
    context: Flask, cast: Any, way: Callable[[Flask, House], None]
) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded), deadlines.kept(LIMIT):
        way(context, cast.acme)
    assert time.monotonic() - began < 15  # and not the twenty that it asked for


@pytest.mark.parametrize("opened", [main_session, main_reads])
def test_the_next_on_that_connection_has_its_own_time(context: Flask, opened: Any) -> None:
    """The limit of one request outlives no return to the pool."""
    with opened() as given:
        before = given.execute(text("SHOW statement_timeout")).scalar_one()
    with deadlines.kept(Limit(seconds=20, statement=30)), opened() as given:
        during = given.execute(text("SHOW statement_timeout")).scalar_one()
    with opened() as given:
        after = given.execute(text("SHOW statement_timeout")).scalar_one()
    assert before == after == "30s"
    assert during != before


def test_a_question_leaves_the_limit_of_the_connection(context: Flask) -> None:
    limit = Question.of(text("SHOW statement_timeout"))
    with deadlines.kept(Limit(seconds=20, statement=30)):
        assert ask_main(limit, {}) != [("30s",)]
    assert ask_main(limit, {}) == [("30s",)]


def test_most_requests_set_nothing(context: Flask) -> None:
    """Unless a connection's own limit is longer than the request's."""
    with deadlines.kept(Limit(seconds=60, statement=30)), main_session() as session:
        assert session.execute(text("SHOW statement_timeout")).scalar_one() == "30s"


def test_nothing_is_begun_too_late_but_what_cleans_up(context: Flask) -> None:
    late = deadlines.arrived.set(time.monotonic() - 1)
    with deadlines.kept(LIMIT):
        with pytest.raises(DeadlineExceeded), main_session() as session:
            session.execute(text("SELECT 1"))
        with main_session() as session:
            assert session.execute(text("SELECT 1")).scalar_one() == 1
    assert deadlines.arrived.get() is None
    del late


def test_the_background_has_its_own_time(context: Flask) -> None:
    def work() -> int:
        with main_session() as session:
            session.execute(text("SELECT pg_sleep(0.5)"))
            return int(session.execute(text("SELECT 1")).scalar_one())

    with deadlines.kept(LIMIT):
        done = background.begun(work, name="test")
        time.sleep(LIMIT.seconds)
    assert done.result(30) == 1


def test_a_route_says_so(settings: Settings) -> None:
    @endpoint(allow=PUBLIC, transaction="main", limited=False, status=204)
    def slow(session: Any) -> None:
        session.execute(text(SLEEP))

    with another_app(settings, request_seconds=1.0) as app:
        app.add_url_rule("/slow", "slow", slow)
        answer = app.test_client().get("/slow")
        assert (answer.status_code, answer.get_json()["code"]) == (503, "deadline_exceeded")
        assert int(answer.headers["Retry-After"]) >= 1
        with app.app_context(), main_session() as session:  # the thread is free of it
            session.execute(text("SELECT 1"))


def test_files_and_streams_take_as_long_as_they_take(context: Flask) -> None:
    unbounded = {
        rule.rule
        for rule in context.url_map.iter_rules()
        if (stated := stated_endpoint(context.view_functions[rule.endpoint])) is not None
        and stated.time_limit is None
    }
    tenant = "/api/tenants/<tenant:tenant_id>"
    assert unbounded >= {
        f"{tenant}/documents/<uuid:document_id>/download",
        "/api/users/me/notifications/stream",
    }
    assert f"{tenant}/documents/<uuid:document_id>" not in unbounded
