"""A tenant's directory: given as a draft, tested by signing in, and only then switched on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy.exc import IntegrityError

from app.core import clock, events, ids
from app.core.db import MainSession, main_session
from app.domains.identity.service import sessions
from app.domains.sso import queries
from app.domains.sso.errors import (
    BadConfiguration,
    ConfigTaken,
    DirectoryNotFound,
    NotActive,
    NotConfigured,
    NotTested,
)
from app.domains.sso.events import SsoActivated, SsoConfigured, SsoRemoved, SsoTested
from app.domains.sso.models import ConfigState, TenantSSOConfig
from app.domains.sso.service import Ports
from app.domains.sso.service.advice import advice, is_of_application
from app.domains.tenants.service import sign_in
from app.domains.tenants.service.sign_in import SignIn
from app.integrations.entra import GrantRefused, Registration
from app.settings import Settings

CALLBACK: Final = "/api/auth/sso/azure/callback"
# A sign-in with others of these has not been tested.
_TESTED: Final = frozenset({"directory_id", "client_id"})
_OF_TENANT: Final = frozenset(
    {"auth_method", "sso_domain_whitelist", "auto_provisioning_enabled", "default_role"}
)
_SECRETS: Final = ("client_secret", "certificate")
_WARN_BEFORE: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """A directory and how the tenant uses it; its secrets are told by their being there."""

    row: TenantSSOConfig
    sign_in: SignIn
    redirect_uri: str
    login_url: str
    admin_consent_url: str
    warnings: list[str]


def redirect_uri(settings: Settings) -> str:
    """One for all tenants: which one a browser comes back for is in the state."""
    return f"{settings.public_url}{CALLBACK}"


def get(session: MainSession, settings: Settings, *, tenant_id: UUID) -> Configured:
    """The tenant's directory.

    Raises:
        NotConfigured: it has none.
    """
    return _configured(session, settings, _required(session, tenant_id))


def put(
    session: MainSession, ports: Ports, *, tenant_id: UUID, values: Mapping[str, Any]
) -> Configured:
    """A whole configuration, in place of the one that is there.

    Raises:
        BadConfiguration, DomainUnverified, NotActive: it does not fit together.
        ConfigTaken: somebody else gave the first one at the same moment.
    """
    row = queries.config(session, tenant_id, lock=True)
    if row is None:
        row = TenantSSOConfig(id=ids.new_id(), tenant_id=tenant_id, state=ConfigState.DRAFT)
        row.version, row.directory_id, row.client_id = 0, ids.new_id(), ids.new_id()
        row.scopes, row.group_roles = [], {}
    _apply(session, ports, row, dict.fromkeys(_SECRETS) | dict(values))
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise ConfigTaken("Somebody else has just configured this tenant; look again.") from error
    return _configured(session, ports.settings, row)


def change(
    session: MainSession, ports: Ports, *, tenant_id: UUID, values: Mapping[str, Any]
) -> Configured:
    """Changes what is given.

    Raises:
        NotConfigured: there is nothing to change.
        BadConfiguration, DomainUnverified, NotActive: it would not fit together.
    """
    row = _required(session, tenant_id, lock=True)
    _apply(session, ports, row, values)
    return _configured(session, ports.settings, row)


def remove(session: MainSession, *, tenant_id: UUID) -> None:
    """Forgets the directory; the tenant's members sign in with their passwords again.

    Raises:
        NotConfigured: there is none.
    """
    row = _required(session, tenant_id, lock=True)
    _forget_people(session, row)
    session.delete(row)
    sign_in.change(session, tenant_id=tenant_id, auth_method="local")
    events.record(session, SsoRemoved(tenant_id=tenant_id))


def activate(session: MainSession, settings: Settings, *, tenant_id: UUID) -> Configured:
    """Switches a tested directory on; a tenant that took passwords alone takes both then.

    Raises:
        NotConfigured: there is none.
        NotTested: nobody has signed in by it yet.
    """
    row = _required(session, tenant_id, lock=True)
    if row.state == ConfigState.DRAFT:
        raise NotTested("Sign in by it once, at the login_url of POST …/test; then switch it on.")
    row.state, row.activated_at = ConfigState.ACTIVE, clock.now()
    policy = sign_in.get(session, tenant_id)
    if policy is not None and policy.auth_method == "local":
        policy = sign_in.change(session, tenant_id=tenant_id, auth_method="both")
    method = "both" if policy is None else policy.auth_method
    events.record(session, SsoActivated(tenant_id=tenant_id, auth_method=method))
    return _configured(session, settings, row)


def begin_test(ports: Ports, *, tenant_id: UUID) -> tuple[str, datetime]:
    """Where to sign in for a test, and until when; the directory itself was asked before.

    Raises:
        NotConfigured: there is none.
        DirectoryNotFound, DirectoryUnavailable: there is none of this id, or it is away.
    """
    with main_session(tenant_id=tenant_id) as session:
        row = _required(session, tenant_id)
    try:
        ports.entra.check(row.directory_id)
    except GrantRefused as error:
        said = advice(error.error, error.aadsts)
        raise DirectoryNotFound(
            f"There is no such directory at {ports.settings.azure_authority_url}. {said}"
        ) from error
    seconds = ports.settings.sso_login_seconds
    token = ports.parcels.keep(
        "test", {"tenant": str(tenant_id), "version": row.version}, seconds=seconds
    )
    address = f"{login_url(ports.settings, tenant_id)}?test={token}"
    return address, clock.now() + timedelta(seconds=seconds)


def tested(session: MainSession, *, tenant_id: UUID, version: int, object_id: UUID) -> None:
    """Somebody has signed in for a test, by what is still the configuration."""
    row = queries.config(session, tenant_id, lock=True)
    if row is None or row.version != version:
        raise ConfigTaken("The directory's settings were changed meanwhile; test them again.")
    if row.state == ConfigState.DRAFT:
        row.state = ConfigState.TESTED
    row.tested_at, row.failure = clock.now(), None
    events.record(session, SsoTested(tenant_id=tenant_id, object_id=object_id))


def blame(tenant_id: UUID, error: GrantRefused) -> None:
    """The owners are told what is wrong with the application: nobody who signs in can mend it."""
    if not is_of_application(error.error, error.aadsts):
        return
    with main_session(tenant_id=tenant_id) as session:
        row = queries.config(session, tenant_id, lock=True)
        if row is not None:
            number = f"AADSTS{error.aadsts}" if error.aadsts else error.error
            row.failure = f"{number}: {advice(error.error, error.aadsts)}"


def registration(ports: Ports, row: TenantSSOConfig) -> Registration:
    """With its secrets, opened."""
    opened = {
        name: ports.secrets.open(sealed, context=str(row.tenant_id)) if sealed else None
        for name in _SECRETS
        for sealed in [getattr(row, f"sealed_{name}")]
    }
    return Registration(
        directory_id=row.directory_id,
        client_id=row.client_id,
        scopes=tuple(row.scopes),
        response_mode=row.response_mode,
        **opened,
    )


def login_url(settings: Settings, tenant_id: UUID) -> str:
    return f"{settings.public_url}/api/auth/sso/azure/login/{tenant_id}"


def _required(session: MainSession, tenant_id: UUID, *, lock: bool = False) -> TenantSSOConfig:
    row = queries.config(session, tenant_id, lock=lock)
    if row is None:
        raise NotConfigured("This tenant has no directory yet: PUT …/sso/config.")
    return row


def _apply(
    session: MainSession, ports: Ports, row: TenantSSOConfig, values: Mapping[str, Any]
) -> None:
    if values.get("client_secret") and values.get("certificate"):
        raise _bad("certificate", "Give a client secret or a certificate, not both.")
    if any(name in values and values[name] != getattr(row, name) for name in _TESTED):
        row.state, row.tested_at = ConfigState.DRAFT, None
    if values.get("directory_id", row.directory_id) != row.directory_id:
        _forget_people(session, row)
    for name, value in values.items():
        if name in _SECRETS:
            _seal(ports, row, name, value)
        elif name not in _OF_TENANT:
            setattr(row, name, value)
    row.version, row.failure = row.version + 1, None
    if values.get("auth_method", "local") != "local" and row.state != ConfigState.ACTIVE:
        raise NotActive("Test the directory and switch it on; then let members sign in by it.")
    of_tenant = {name: values[name] for name in _OF_TENANT & values.keys()}
    policy = sign_in.change(session, tenant_id=row.tenant_id, **of_tenant)
    if policy.auth_method != "local" and row.state != ConfigState.ACTIVE:
        # What is no longer tested must not be the only way in.
        sign_in.change(session, tenant_id=row.tenant_id, auth_method="local")
    events.record(
        session,
        SsoConfigured(tenant_id=row.tenant_id, changed=sorted(values), state=row.state),
    )


def _forget_people(session: MainSession, row: TenantSSOConfig) -> None:
    """Whom the former directory knew, and the sessions that it authenticated."""
    queries.forget_identities(session, row.tenant_id)
    sessions.end_directory(session, tenant_id=row.tenant_id)


def _seal(ports: Ports, row: TenantSSOConfig, name: str, value: str | None) -> None:
    """One of the two at most: the other goes."""
    context = str(row.tenant_id)
    if value is not None:
        row.sealed_client_secret = row.sealed_certificate = None
        row.credential_expires_at = None
    setattr(row, f"sealed_{name}", ports.secrets.seal(value, context=context) if value else None)
    if name == "certificate" and value is not None:
        row.credential_expires_at = _expiry(value)


def _expiry(pem: str) -> datetime:
    """Of a certificate that comes with its private key."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise _bad("certificate", "Give PEM, of the private key and its certificate.") from error
    if key.public_key() != certificate.public_key():
        raise _bad("certificate", "The private key is not this certificate's.")
    return certificate.not_valid_after_utc


def _bad(field: str, message: str) -> BadConfiguration:
    return BadConfiguration(message, errors={field: [message]})


def _configured(session: MainSession, settings: Settings, row: TenantSSOConfig) -> Configured:
    session.flush()
    session.refresh(row)  # ``active`` is the database's to say
    policy = sign_in.get(session, row.tenant_id)
    if policy is None:
        raise NotConfigured("There is no such tenant.")
    consent = f"{settings.azure_authority_url}/{row.directory_id}/v2.0/adminconsent"
    return Configured(
        row=row,
        sign_in=policy,
        redirect_uri=redirect_uri(settings),
        login_url=login_url(settings, row.tenant_id),
        admin_consent_url=f"{consent}?client_id={row.client_id}"
        f"&scope={settings.graph_url}/.default&redirect_uri={redirect_uri(settings)}",
        warnings=_warnings(row, policy),
    )


def _warnings(row: TenantSSOConfig, policy: SignIn) -> list[str]:
    warnings = [] if row.failure is None else [row.failure]
    expires = row.credential_expires_at
    if expires is not None and expires <= clock.now():
        warnings.append(f"The secret or certificate has expired, on {expires:%Y-%m-%d}.")
    elif expires is not None and expires - clock.now() < _WARN_BEFORE:
        warnings.append(f"The secret or certificate expires on {expires:%Y-%m-%d}; renew it.")
    warnings += [
        f"The domain {domain} is not proven any more; its people are not taken in."
        for domain in sorted(set(policy.whitelist) - policy.domains)
    ]
    if policy.auto_provisioning_enabled and not policy.domains:
        warnings.append("Automatic provisioning takes nobody in without a proven domain.")
    return warnings
