"""The people of every example, and the tenants that they belong to."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import Flask, current_app
from flask_migrate import upgrade
from werkzeug.test import TestResponse

from app.core import ids
from app.core.db import main_session
from app.domains.identity.service import keys, users
from app.domains.tenants.service import directory, lifecycle, members
from app.tenancy import templates
from app.tenancy.manager import current_manager

NAMES = {"Alice", "Ada", "Ursula", "Bob", "Mallory", "Petra", "Sam"}
PASSWORD = "correct horse battery staple"


class Person:
    """Somebody with an account, signed in, who sends requests."""

    def __init__(self, app: Flask, *, name: str, email: str, user_id: UUID) -> None:
        self.app = app
        self.name = name
        self.email = email
        self.user_id = user_id
        self.tokens: dict[str, Any] = {}

    def sign_in(self) -> "Person":
        answer = self.app.test_client().post(
            "/api/auth/login", json={"email": self.email, "password": PASSWORD}
        )
        assert answer.status_code == 200, answer.text
        self.tokens = answer.get_json()
        return self

    def again(self) -> "Person":
        """The same person in another browser: a session of its own, free to be ended."""
        return Person(self.app, name=self.name, email=self.email, user_id=self.user_id).sign_in()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    def send(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = self.headers | options.pop("headers", {})
        answer = self.app.test_client().open(
            path, method=method, headers=headers, buffered=True, **options
        )
        # The client spools a large form into a file and leaves it open.
        answer.request.input_stream.close()
        return answer

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.send("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.send("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self.send("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.send("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.send("DELETE", path, **options)


@dataclass(frozen=True)
class House:
    """A tenant: its id, slug and database."""

    id: UUID
    slug: str
    database: str

    @property
    def documents(self) -> str:
        return f"/api/tenants/{self.id}/documents"


@dataclass(frozen=True)
class Cast:
    alice: Person
    ada: Person
    ursula: Person
    bob: Person
    mallory: Person
    petra: Person
    sam: Person
    acme: House
    globex: House


def initialise(app: Flask) -> None:
    """What scripts/init_db.py does, without its people."""
    with app.app_context():
        upgrade()
        templates.ensure(current_manager().server)
        with main_session() as session:
            keys.ensure_signing_key(session, current_app.extensions["secrets"])


def play_cast(app: Flask) -> Cast:
    with app.app_context():
        alice, ada, ursula, bob, mallory = (
            new_person(app, name) for name in ("Alice", "Ada", "Ursula", "Bob", "Mallory")
        )
        petra = new_person(app, "Petra", platform_role="platform_admin")
        sam = new_person(app, "Sam", platform_role="support_agent")
        acme = new_house("acme", alice, admin=ada, user=ursula, viewer=bob)
        globex = new_house("globex", mallory)
    return Cast(alice, ada, ursula, bob, mallory, petra, sam, acme, globex)


def new_person(
    app: Flask, name: str, *, platform_role: str | None = None, verified: bool = True
) -> Person:
    """An account with an address of its own, signed in. Needs an application context."""
    assert name in NAMES, f"{name} is none of the cast"
    email = f"{name.lower()}.{ids.new_id().hex}@example.com"
    with main_session() as session:
        user = users.create_user(
            session,
            current_app.extensions["passwords"],
            email=email,
            name=name,
            password=PASSWORD,
            platform_role=platform_role,
            verified=verified,
        )
    return Person(app, name=name, email=email, user_id=user.id).sign_in()


def new_house(name: str, owner: Person, **by_role: Person) -> House:
    """A tenant with a slug of its own and these members. Needs an application context."""
    slug = f"{name}-{ids.new_id().hex[-8:]}"
    made = lifecycle.create_tenant(
        current_manager(), name=name.title(), slug=slug, owner_id=owner.user_id
    )
    with main_session(tenant_id=made.id) as session:
        for role, person in by_role.items():
            members.add_member(session, tenant_id=made.id, user_id=person.user_id, role=role)
    location = directory.TenantRegistry().locate_tenant(made.id)
    return House(made.id, slug, location.database)
