"""Somebody who has signed in by a directory, and what is stored of it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update

from app.core import clock
from app.core.db import main_session
from app.domains.sso.models import UserAzureIdentity
from embedded.entra.directory import DirectoryPerson
from tests.domains.sso.browsers import Browser, Company, bearer

PROFILE = "/api/users/me/azure/profile"


@dataclass
class Connection:
    """A member of the company, and the row of his or her tokens."""

    company: Company
    person: DirectoryPerson
    headers: dict[str, str]
    id: UUID

    @property
    def row(self) -> UserAzureIdentity:
        with main_session(tenant_id=self.company.house.id) as session:
            return session.get_one(UserAzureIdentity, self.id)

    def expires_after(self, time: timedelta) -> bool:
        at = self.row.access_expires_at
        return at is not None and at > clock.now() + time

    @property
    def refreshes(self) -> int:
        return self.company.directory.counts["refresh_token"]

    @property
    def is_signed_in(self) -> bool:
        return bool(self.get("/api/users/me").status_code == 200)

    def get(self, path: str) -> Any:
        return self.company.app.test_client().get(path, headers=self.headers)

    def change(self, **values: Any) -> None:
        with main_session(tenant_id=self.company.house.id) as session:
            session.execute(
                update(UserAzureIdentity).where(UserAzureIdentity.id == self.id).values(**values)
            )

    def expire(self) -> None:
        self.change(access_expires_at=clock.now(), refresh_at=None, refreshing_until=None)


def connect(company: Company, browser: Browser) -> Connection:
    """Somebody new."""
    person = company.newcomer()
    headers = bearer(browser.sign_in(person))
    company.directory.counts.clear()
    with main_session(tenant_id=company.house.id) as session:
        found = session.scalars(
            select(UserAzureIdentity.id).where(UserAzureIdentity.object_id == person.id)
        ).one()
    return Connection(company, person, headers, found)
