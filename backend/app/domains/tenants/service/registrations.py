"""Registering: a stranger asks for an account and a tenant, and gets both with a proven address.

Nothing but a row is made before that, whoever asks: no account, no slug taken, no database. Asking
makes the same work for every address; the job finds out which mail has to go there. Whoever follows
the link chooses the password: nobody can register another person's address and wait for that person
to confirm a password that both know.
"""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete

from app.core import clock, events, ids, letters
from app.core.db import MainSession, main_session
from app.domains.identity.service import mails, proofs, users
from app.domains.identity.service.passwords import Passwords
from app.domains.jobs import service as jobs
from app.domains.tenants import queries
from app.domains.tenants.errors import (
    RegistrationDisabled,
    RegistrationInvalid,
    WrongState,
)
from app.domains.tenants.events import RegistrationConfirmed
from app.domains.tenants.models import Registration
from app.domains.tenants.queries import Membership
from app.domains.tenants.service import directory, lifecycle
from app.integrations.mailer import Mailer
from app.settings import Settings
from app.tenancy.manager import TenantDatabaseManager


def ask(
    session: MainSession,
    settings: Settings,
    *,
    tenant: dict[str, str],
    owner: dict[str, str],
) -> None:
    """Keeps what was asked for until the owner's address is proven.

    Raises:
        RegistrationDisabled: this installation lets nobody register.
    """
    _require_enabled(settings)
    registration = Registration(
        id=ids.new_id(),
        email=owner["email"].lower(),
        name=owner["name"],
        tenant_name=tenant["name"],
        slug=tenant["slug"],
        expires_at=clock.now() + timedelta(seconds=settings.registration_seconds),
    )
    session.add(registration)
    jobs.schedule(session, "tenants.send_registration", registration_id=str(registration.id))


def send_mail(
    session: MainSession, mailer: Mailer, settings: Settings, *, registration_id: UUID
) -> None:
    """Sends the link that confirms it; an address with an account is told that it has one."""
    registration = queries.registration(session, registration_id)
    if registration is None or not registration.active:
        return
    address = registration.email
    if not mails.admit(session, address=address, topic="registration"):
        session.delete(registration)
    elif users.find_by_email(session, address) is not None:
        session.delete(registration)
        letter = letters.write("account_exists", link=f"{settings.link_origin}/")
        mails.send(mailer, to=address, letter=letter)
    else:
        token = ids.new_token()
        registration.token_hash = ids.token_hash(token)
        letter = letters.write(
            "confirm_registration",
            link=mails.link(settings, "confirm-registration", token),
            slug=registration.slug,
            expires_at=mails.shown(registration.expires_at),
        )
        mails.send(mailer, to=address, letter=letter)


def confirm(
    manager: TenantDatabaseManager,
    passwords: Passwords,
    settings: Settings,
    *,
    token: str,
    password: str,
    slug: str | None,
) -> Membership:
    """Makes the account, the tenant and its database, whatever part of them exists.

    It can be repeated until the registration's time is over: after a failure it goes on, after
    success it answers the same, and the first password stays. ``slug`` is for one whose first
    choice was taken meanwhile.

    Raises:
        RegistrationDisabled: this installation lets nobody register any more.
        RegistrationInvalid: there is no such registration, or its time is over.
        SlugTaken, TenantLimitReached: as `lifecycle.register`.
        ProvisioningFailed: the tenant is registered as failed.
    """
    _require_enabled(settings)
    password_hash = passwords.hash(password)
    with main_session() as session:
        registration = queries.registration_by_token(session, ids.token_hash(token))
        if registration is None:
            raise RegistrationInvalid("This link is not valid or has expired; register again.")
        owner_id = _ensure_owner(session, registration, password_hash)
    lifecycle.register(
        manager,
        name=registration.tenant_name,
        slug=slug or registration.slug,
        owner_id=owner_id,
        limit=settings.max_tenants,
        tenant_id=registration.id,
    )
    with suppress(WrongState):  # somebody with the same link was faster
        lifecycle.provision(manager, tenant_id=registration.id)
    return directory.membership_now(user_id=owner_id, tenant_id=registration.id)


def forget_expired(session: MainSession) -> None:
    session.execute(delete(Registration).where(Registration.expires_at < clock.now()))


def _require_enabled(settings: Settings) -> None:
    if not settings.registration_enabled:
        raise RegistrationDisabled("Ask whoever runs this installation for an account.")


def _ensure_owner(session: MainSession, registration: Registration, password_hash: str) -> UUID:
    """The account of the address, which is proven by now."""
    user = users.find_by_email(session, registration.email)
    if user is None and registration.active:
        user = users.add_user(
            session,
            email=registration.email,
            name=registration.name,
            password_hash=password_hash,
            verified=True,
        )
    if user is None or not user.active:
        raise RegistrationInvalid("There is no such account any more.")
    if registration.active:
        proofs.confirm_address(session, user)
        registration.confirmed_at = clock.now()
        confirmed = RegistrationConfirmed(tenant_id=registration.id, owner_id=user.id)
        events.record(session, confirmed)
    return user.id
