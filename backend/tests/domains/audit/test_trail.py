"""The trail: written with the change or not at all, read by the tenant's administrators only."""

from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import events, ids
from app.core.db import main_session, platform_session, record_despite
from app.core.errors import Conflict
from app.core.events import Origin
from app.core.tasks import DEFINITIONS, TaskDefinition
from app.domains.audit.models import PlatformEntry, TenantEntry
from app.domains.jobs import service as jobs
from app.domains.jobs.models import Job
from app.tenancy.manager import current_manager
from tests.cast import Cast, House
from tests.domains.audit.conftest import PlanDrawn


def in_tenant(house: House, plan_id: UUID) -> list[TenantEntry]:
    with current_manager().tenant_db_session(house.database) as session:
        query = select(TenantEntry).where(TenantEntry.target == str(plan_id))
        return list(session.scalars(query))


def in_main(plan_id: UUID, *, tenant_id: UUID | None = None) -> list[PlatformEntry]:
    query = select(PlatformEntry).where(PlatformEntry.target == str(plan_id))
    with main_session(tenant_id=tenant_id) if tenant_id else platform_session() as session:
        return list(session.scalars(query))


def test_an_event_is_in_the_trail_of_its_tenant(context: Flask, cast: Cast) -> None:
    plan, origin = ids.new_id(), Origin(user_id=ids.new_id(), address="::1", request_id="r1")
    with (
        events.originating(origin),
        current_manager().tenant_db_session(cast.acme.database) as session,
    ):
        events.record(session, PlanDrawn(plan_id=plan, colour="blue"))
    (entry,) = in_tenant(cast.acme, plan)
    assert (entry.type, entry.user_id, entry.address) == ("plan.drawn", origin.user_id, "::1")
    assert (entry.request_id, entry.task) == ("r1", None)
    assert entry.details == {"colour": "blue", "tenant_id": None}
    assert in_tenant(cast.globex, plan) == []


def test_a_refusal_is_told_although_it_is_rolled_back(context: Flask, cast: Cast) -> None:
    plan, undone = ids.new_id(), ids.new_id()

    def draw() -> None:
        with current_manager().tenant_db_session(cast.acme.database) as session:
            events.record(session, PlanDrawn(plan_id=undone, colour="red"))
            raise record_despite(
                Conflict("Not now."),
                lambda own: events.record(own, PlanDrawn(plan_id=plan, colour="red")),
            )

    with pytest.raises(Conflict):
        draw()
    assert len(in_tenant(cast.acme, plan)) == 1
    assert in_tenant(cast.acme, undone) == []


def test_the_main_planes_trail_shows_a_tenant_its_own_rows(context: Flask, cast: Cast) -> None:
    plan, unseen = ids.new_id(), ids.new_id()
    with main_session(tenant_id=cast.acme.id) as session:
        events.record(session, PlanDrawn(plan_id=plan, colour="blue"))
    with main_session() as session:
        events.record(session, PlanDrawn(plan_id=unseen, colour="blue"))
    assert [entry.tenant_id for entry in in_main(plan)] == [cast.acme.id]
    assert [entry.tenant_id for entry in in_main(unseen)] == [None]
    assert len(in_main(plan, tenant_id=cast.acme.id)) == 1
    assert in_main(unseen, tenant_id=cast.acme.id) == []
    assert in_main(plan, tenant_id=cast.globex.id) == []


def test_administrators_read_it_page_by_page(context: Flask, cast: Cast) -> None:
    plans = [ids.new_id() for _ in range(3)]
    for plan in plans:
        with current_manager().tenant_db_session(cast.acme.database) as session:
            events.record(session, PlanDrawn(plan_id=plan, colour="blue"))
    path, seen = f"/api/tenants/{cast.acme.id}/audit", []
    page = cast.ada.get(path + "?limit=2").get_json()
    seen += [each["target"] for each in page["items"]]
    page = cast.ada.get(f"{path}?limit=2&cursor={page['next_cursor']}").get_json()
    seen += [each["target"] for each in page["items"]]
    assert seen[:3] == [str(plan) for plan in reversed(plans)]


def test_a_job_does_it_on_somebodys_behalf(
    context: Flask, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of who asked for it; what many have asked for is nobody's in particular."""

    def draw(session: Session, plan: str) -> None:
        events.record(session, PlanDrawn(plan_id=UUID(plan), colour="blue"))

    monkeypatch.setitem(
        DEFINITIONS, "audit.draw", TaskDefinition("audit.draw", "default", "tenant", draw)
    )
    asked, shared, ada = ids.new_id(), ids.new_id(), cast.ada.user_id
    whose = cast.acme.id
    with (
        events.originating(Origin(user_id=ada)),
        main_session(tenant_id=cast.acme.id) as session,
    ):
        job = jobs.schedule(session, "audit.draw", tenant_id=whose, plan=str(asked))
        jobs.schedule_once(
            session, "audit.draw", slot=str(shared), tenant_id=whose, plan=str(shared)
        )
    with platform_session() as session:
        of_slot = session.scalars(select(Job.id).where(Job.slot == str(shared))).one()
    for each in (job, of_slot):
        context.extensions["celery"].tasks["jobs.run"].apply(kwargs={"job_id": str(each)}).get()
    (entry,) = in_tenant(cast.acme, asked)
    assert (entry.user_id, entry.on_behalf_of, entry.task) == (None, ada, "audit.draw")
    (entry,) = in_tenant(cast.acme, shared)
    assert (entry.user_id, entry.on_behalf_of) == (None, None)
