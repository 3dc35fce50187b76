"""Domains of a tenant's own: claimed by anybody, proven by one, by a record in their DNS.

A claim gives nothing. Verifying it looks for the claim's challenge in the domain's DNS; from then
on requests to that host name the tenant, and no other tenant can prove the domain while this one
keeps it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from app.core import clock, events, ids
from app.core.db import MainSession
from app.domains.tenants import queries
from app.domains.tenants.errors import DomainNotFound, DomainNotProven, DomainTaken
from app.domains.tenants.events import DomainClaimed, DomainRemoved, DomainVerified
from app.domains.tenants.models import TenantDomain
from app.domains.tenants.service.domain_names import normalised
from app.integrations.dns import Dns
from app.settings import Settings

OpenSession = Callable[[], AbstractContextManager[MainSession]]


def list_domains(session: MainSession, *, tenant_id: UUID) -> Sequence[TenantDomain]:
    return queries.domains(session, tenant_id)


def claim(session: MainSession, settings: Settings, *, tenant_id: UUID, name: str) -> TenantDomain:
    """A claim, with the challenge that proves it.

    Raises:
        BadDomain: no tenant can have this domain.
        DomainTaken: this tenant claims it already.
    """
    domain = TenantDomain(
        id=ids.new_id(),
        tenant_id=tenant_id,
        domain=normalised(name, settings),
        challenge=ids.new_token(),
    )
    try:
        with session.begin_nested():
            session.add(domain)
    except IntegrityError as error:
        raise DomainTaken("This tenant claims the domain already.") from error
    events.record(
        session, DomainClaimed(domain_id=domain.id, tenant_id=tenant_id, domain=domain.domain)
    )
    return domain


def verify(
    open_session: OpenSession, dns: Dns, *, tenant_id: UUID, domain_id: UUID
) -> TenantDomain:
    """The domain, proven; one that is so already is not asked about again.

    Raises:
        DomainNotFound: the tenant claims no such domain.
        DomainNotProven: the DNS does not show the challenge.
        DomainTaken: another tenant has proven it.
        DnsUnavailable: nobody can say just now.
    """
    with open_session() as session:
        domain = _for_change(session, tenant_id=tenant_id, domain_id=domain_id)
    if domain.verified_at is not None:
        return domain
    if domain.challenge not in dns.texts(domain.challenge_name):
        raise DomainNotProven(
            f"{domain.challenge_name} has no TXT record with the challenge yet; set it, and try"
            " again when the DNS shows it."
        )
    with open_session() as session:
        return _prove(session, tenant_id=tenant_id, domain_id=domain_id)


def remove(session: MainSession, *, tenant_id: UUID, domain_id: UUID) -> None:
    """Gives the domain up: others can prove it from now on.

    Raises:
        DomainNotFound: the tenant claims no such domain.
    """
    domain = _for_change(session, tenant_id=tenant_id, domain_id=domain_id)
    session.delete(domain)
    events.record(
        session, DomainRemoved(domain_id=domain_id, tenant_id=tenant_id, domain=domain.domain)
    )


def _prove(session: MainSession, *, tenant_id: UUID, domain_id: UUID) -> TenantDomain:
    domain = _for_change(session, tenant_id=tenant_id, domain_id=domain_id)
    if domain.verified_at is not None:
        return domain
    try:
        with session.begin_nested():
            domain.verified_at = clock.now()
    except IntegrityError as error:
        raise DomainTaken("Another tenant has proven this domain.") from error
    events.record(
        session, DomainVerified(domain_id=domain_id, tenant_id=tenant_id, domain=domain.domain)
    )
    session.refresh(domain)  # ``active`` is the database's to say
    return domain


def _for_change(session: MainSession, *, tenant_id: UUID, domain_id: UUID) -> TenantDomain:
    domain = queries.domain_for_change(session, tenant_id=tenant_id, domain_id=domain_id)
    if domain is None:
        raise DomainNotFound("There is no such domain.")
    return domain
