"""Transactions of the main plane: what is committed, what follows, what is written despite."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.core.db import (
    PlatformUnavailable,
    WrongPlane,
    after_commit,
    main_reads,
    main_session,
    platform_session,
    record_despite,
)
from app.core.errors import Conflict, Forbidden
from app.domains.documents.models import Document
from app.domains.identity.models import User
from app.domains.tenants.models import Tenant
from app.settings import Settings
from app.tenancy.manager import current_manager
from tests.cast import Cast, Person, new_house, new_person
from tests.core.apps import another_app


@pytest.fixture
def person(context: Flask) -> Person:
    return new_person(context, "Alice")


def rename(session: Session, user_id: UUID, name: str) -> None:
    session.execute(update(User).where(User.id == user_id).values(name=name))


def name_of(user_id: UUID) -> str:
    with main_session() as session:
        return session.scalars(select(User.name).where(User.id == user_id)).one()


class Expected(Exception):
    """An error that is none of ours."""


def test_the_block_commits_where_it_ends(person: Person) -> None:
    with main_session() as session:
        rename(session, person.user_id, "Committed")
        assert name_of(person.user_id) == "Alice"
    assert name_of(person.user_id) == "Committed"


@pytest.mark.parametrize("error", [Expected(), Conflict("no"), KeyboardInterrupt()])
def test_any_error_rolls_it_back(person: Person, error: BaseException) -> None:
    def fail() -> None:
        with main_session() as session:
            rename(session, person.user_id, "Lost")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert name_of(person.user_id) == "Alice"


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT 1 / 0"])
def test_who_reads_without_a_transaction_gives_a_connection_back_with_one(
    context: Flask, statement: str
) -> None:
    with suppress(DBAPIError), main_reads() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.autocommit
        connection.execute(text(statement))
    assert not driver.autocommit


def test_what_is_put_off_happens_after_the_commit(person: Person) -> None:
    seen: list[str] = []
    with main_session() as session:
        after_commit(session, lambda: seen.append(name_of(person.user_id)))
        after_commit(session, lambda: seen.append("second"))
        rename(session, person.user_id, "Committed")
        assert not seen
    assert seen == ["Committed", "second"]


@pytest.mark.parametrize("error", [Expected(), Conflict("no")])
def test_without_a_commit_nothing_follows(person: Person, error: Exception) -> None:
    seen: list[str] = []

    def fail() -> None:
        with main_session() as session:
            after_commit(session, lambda: seen.append("sent"))
            raise error

    with pytest.raises(type(error)):
        fail()
    assert not seen


def test_a_commit_that_fails_is_followed_by_nothing(person: Person) -> None:
    seen: list[str] = []

    def lose_the_connection() -> None:
        with main_session() as session:
            after_commit(session, lambda: seen.append("sent"))
            rename(session, person.user_id, "Lost")
            own = session.scalar(text("SELECT pg_backend_pid()"))
            with main_session() as other:
                other.execute(text("SELECT pg_terminate_backend(:own)"), {"own": own})

    with pytest.raises(DBAPIError):
        lose_the_connection()
    assert not seen
    assert name_of(person.user_id) == "Alice"


def test_what_follows_cannot_make_the_write_look_failed(
    person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def fail() -> None:
        raise Expected

    with main_session() as session:
        after_commit(session, fail)
        after_commit(session, lambda: seen.append("the next one"))
        rename(session, person.user_id, "Committed")
    assert name_of(person.user_id) == "Committed"
    assert seen == ["the next one"]
    assert "a callback after the commit failed" in caplog.text


def test_a_fact_outlives_the_refusal(person: Person) -> None:
    def note(own: Session) -> None:
        rename(own, person.user_id, "Refused")

    def refuse() -> None:
        with main_session() as session:
            rename(session, person.user_id, "Rolled back")
            raise record_despite(Forbidden("no entry"), note)

    with pytest.raises(Forbidden, match="no entry"):
        refuse()
    assert name_of(person.user_id) == "Refused"


def test_several_facts_stand_or_fall_together(person: Person) -> None:
    def note(own: Session) -> None:
        rename(own, person.user_id, "First")

    def fail(own: Session) -> None:
        own.execute(text("SELECT 1 / 0"))

    with pytest.raises(Exception, match="division by zero"), main_session():
        raise record_despite(record_despite(Forbidden("no entry"), note), fail)
    assert name_of(person.user_id) == "Alice"


def test_a_fact_is_written_once(person: Person) -> None:
    written: list[int] = []

    def note(_own: Session) -> None:
        written.append(1)

    error = record_despite(Conflict("no"), note)
    for _ in range(2):
        with pytest.raises(Conflict), main_session():
            raise error
    assert written == [1]


def test_a_session_refuses_the_other_planes_tables(context: Flask, cast: Cast) -> None:
    reads: list[Callable[[Session], object]] = [
        lambda session: session.scalars(select(Document)).all(),
        lambda session: session.get(Document, uuid4()),
        lambda session: session.execute(select(User).join(Document, Document.owner_id == User.id)),
        lambda session: session.execute(update(Document).values(name="x")),
        lambda session: session.execute(select(select(Document.id).exists())),
        lambda session: session.execute(select(User.id).where(User.id.in_(select(Document.id)))),
    ]
    for read in reads:
        with pytest.raises(WrongPlane), main_session() as session:
            read(session)
    with (
        pytest.raises(WrongPlane),
        current_manager().tenant_db_session(cast.acme.database) as tenant,
    ):
        tenant.scalars(select(User)).all()


def test_rows_of_a_tenant_are_shown_to_its_members_alone(context: Flask) -> None:
    alice, mallory = new_person(context, "Alice"), new_person(context, "Mallory")
    acme, globex = new_house("acme", alice), new_house("globex", mallory)

    def visible(**who: UUID) -> set[UUID]:
        with main_session(**who) as session:
            return set(session.scalars(select(Tenant.id)))

    assert visible() == set()
    assert visible(user_id=mallory.user_id) == {globex.id}
    assert visible(user_id=alice.user_id) == {acme.id}
    assert visible(tenant_id=acme.id) == {acme.id}
    with platform_session() as session:
        assert set(session.scalars(select(Tenant.id))) >= {acme.id, globex.id}
    # The pool's next user is nobody again.
    assert visible() == set()


def test_without_the_credential_there_is_no_cross_tenant_work(settings: Settings) -> None:
    with (
        another_app(settings, database_platform_url=None) as app,
        app.app_context(),
        pytest.raises(PlatformUnavailable),
        platform_session(),
    ):
        pass


def test_a_password_may_hold_any_character(settings: Settings, cast: Cast) -> None:
    """Libpq's percent encoding reaches the server as the password it is."""
    url = settings.database_url.get_secret_value()
    head, _, rest = url.partition("@")
    name, _, password = head.rpartition(":")
    encoded = "".join(f"%{ord(character):02X}" for character in password)
    changed = SecretStr(f"{name}:{encoded}@{rest}")
    with another_app(settings, database_url=changed) as app:
        headers = cast.alice.headers
        assert app.test_client().get("/api/users/me", headers=headers).status_code == 200
