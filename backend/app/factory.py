"""The wiring, read top to bottom in a minute; nothing imports it but the processes."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any, cast
from uuid import UUID

from flask import Flask

from app import figures
from app.core import (
    apidocs,
    auth_log,
    browsers,
    db,
    deadlines,
    events,
    health,
    idempotency,
    marks,
    overload,
    pages,
    problems,
    proxies,
    rates,
    redis,
    streams,
    tallies,
    tasks,
    tenant_names,
    throttle,
    tokens,
    traffic,
)
from app.core.application import Application
from app.core.caller import Caller
from app.core.http import Plane
from app.core.messages import Publisher
from app.core.secrets import FernetBox, SecretBox, derived_key
from app.core.tenant_names import TenantName
from app.domains.access import routes as access_routes
from app.domains.access import service as access
from app.domains.activity import consumers as activity_consumers
from app.domains.activity import models as activity_models
from app.domains.activity import routes as activity_routes
from app.domains.activity import tasks as activity_tasks
from app.domains.audit import models as audit_models
from app.domains.audit import routes as audit_routes
from app.domains.audit import tasks as audit_tasks
from app.domains.audit.service.recording import Recorder as AuditRecorder
from app.domains.backups import models as backup_models
from app.domains.backups import tasks as backup_tasks
from app.domains.backups.routes import backups as backup_routes
from app.domains.backups.routes import exports as export_routes
from app.domains.backups.service import exports
from app.domains.documents import consumers as document_consumers
from app.domains.documents import models as document_models
from app.domains.documents import tasks as document_tasks
from app.domains.documents.routes import documents, downloads, quota, trash, uploads, versions
from app.domains.documents.service import downloads as document_downloads
from app.domains.fleet import cli as fleet_cli
from app.domains.fleet import models as fleet_models
from app.domains.fleet import routes as fleet_routes
from app.domains.fleet import tasks as fleet_tasks
from app.domains.idempotency import models as key_models
from app.domains.idempotency import tasks as key_tasks
from app.domains.idempotency.service import DatabaseKeys
from app.domains.identity import models as identity_models
from app.domains.identity import routes as identity
from app.domains.identity import tasks as identity_tasks
from app.domains.identity.service.keys import DatabaseKeyRing
from app.domains.identity.service.passwords import Passwords
from app.domains.jobs import models as job_models
from app.domains.jobs import tasks as job_tasks
from app.domains.jobs.service import canaries, running
from app.domains.notifications import consumers as notification_consumers
from app.domains.notifications import models as notification_models
from app.domains.notifications import routes as notifications
from app.domains.notifications import tasks as notification_tasks
from app.domains.outbox import models as outbox_models
from app.domains.outbox import routes as outbox_routes
from app.domains.outbox import tasks as outbox_tasks
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.recording import Recorder
from app.domains.outbox.service.relay import Relay
from app.domains.outbox.service.relaying import Outboxes
from app.domains.sealing import tasks as sealing_tasks
from app.domains.sso import models as sso_models
from app.domains.sso import tasks as sso_tasks
from app.domains.sso.routes import configuration as sso_configuration
from app.domains.sso.routes import login as sso_login
from app.domains.sso.routes import profile as sso_profile
from app.domains.sso.service import Ports as SsoPorts
from app.domains.sso.service.parcels import Parcels
from app.domains.tenants import models as tenant_models
from app.domains.tenants import tasks as tenant_tasks
from app.domains.tenants.routes import (
    admin,
    domains,
    invitations,
    members,
    registrations,
    sandboxes,
    tenants,
)
from app.domains.tenants.service.directory import TenantRegistry, active_ids_after
from app.domains.webhooks import consumers as webhook_consumers
from app.domains.webhooks import models as webhook_models
from app.domains.webhooks import routes as webhook_routes
from app.domains.webhooks import tasks as webhook_tasks
from app.integrations import customer_http, dns, entra, graph, mailer, storage, vault
from app.settings import InvalidSettings, Settings
from app.settings.vault_client import VaultClient
from app.tenancy import manager as tenancy
from app.tenancy.locations import TenantLocation
from app.tenancy.sessions import TenantSession

BLUEPRINTS = (
    identity.blueprint,
    tenants.blueprint,
    members.blueprint,
    domains.blueprint,
    sandboxes.blueprint,
    admin.blueprint,
    fleet_routes.blueprint,
    invitations.blueprint,
    registrations.blueprint,
    access_routes.blueprint,
    sso_configuration.blueprint,
    sso_login.blueprint,
    sso_profile.blueprint,
    audit_routes.blueprint,
    outbox_routes.blueprint,
    activity_routes.blueprint,
    webhook_routes.blueprint,
    notifications.blueprint,
    backup_routes.blueprint,
    export_routes.blueprint,
    documents.blueprint,
    trash.blueprint,
    versions.blueprint,
    downloads.blueprint,
    uploads.blueprint,
    quota.blueprint,
)
# Imported for what they declare; `flask shell` shows the models.
MODELS = (
    audit_models,
    outbox_models,
    activity_models,
    notification_models,
    job_models,
    key_models,
    identity_models,
    tenant_models,
    sso_models,
    fleet_models,
    document_models,
    webhook_models,
    backup_models,
)
TASKS = (
    job_tasks,
    key_tasks,
    identity_tasks,
    tenant_tasks,
    sso_tasks,
    fleet_tasks,
    document_tasks,
    outbox_tasks,
    activity_tasks,
    webhook_tasks,
    notification_tasks,
    backup_tasks,
    audit_tasks,
    sealing_tasks,
)
CONSUMERS = (activity_consumers, document_consumers, notification_consumers, webhook_consumers)
_TRACING = "pip install tenantry[tracing]"
SEALED_COLUMNS = tuple(column for module in MODELS for column in getattr(module, "SEALED", ()))


def create_app(settings: Settings) -> Flask:
    """The application; it opens no connection before the first request needs one."""
    app = Application("app")
    configure(app, settings)
    secrets = vault.init_app(app, settings)

    proxies.init_app(app, settings)
    traffic.init_app(app)
    browsers.init_app(app, settings)
    problems.init_app(app)
    overload.init_app(app, settings)
    tenant_names.init_app(app, settings)
    db.init_app(app, settings)
    redis.init_app(app, settings)
    tallies.init_app(app, settings)
    recorders = (AuditRecorder(settings), Recorder(marks.init_app(app, settings)), auth_log.log)
    events.init_app(app, recorders)
    throttle.init_app(app, settings)
    rates.init_app(app, settings)
    idempotency.init_app(app, DatabaseKeys(settings), answer_box(settings))
    streams.init_app(app, most=settings.live_streams)
    pages.init_app(app, pages.Cursors(settings.secret_key.get_secret_value()))
    tokens.init_app(app, settings, DatabaseKeyRing(secrets, settings))
    storage.init_app(app, storage.create(settings))
    dns.init_app(app, dns.SystemDns(settings.dns_servers, timeout=settings.dns_timeout))
    mailer.init_app(app, mailer.create_mailer(settings))
    customer_http.init_app(app, customer_http.create(settings))
    registry = TenantRegistry()
    manager = tenancy.TenantDatabaseManager(settings, registry=registry, secrets=secrets)
    tenancy.init_app(app, manager)
    storage.guard_links(
        app,
        {
            "tenants": partial(document_downloads.follow_link, manager),
            "exports": exports.follow_link,
        },
    )
    open_tenant = TaskEdge(manager, registry)
    tasks.create_celery(
        app,
        settings,
        open_tenant=open_tenant,
        run_job=partial(running.run, settings=settings, open_tenant=open_tenant),
    )
    app.extensions |= {
        "settings": settings,
        "secrets": secrets,
        "sealed_columns": SEALED_COLUMNS,
        "passwords": Passwords(settings),
        "edge": RequestEdge(manager),
        "open_tenant": open_tenant,
        "sso": sso_ports(app, settings, secrets),
    }
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.cli.add_command(fleet_cli.group)
    figures.publish(app, settings, manager)
    apidocs.init_app(app)
    health.init_app(app, dependencies(manager, app.extensions["vault"]))
    app.shell_context_processor(shell_context)
    return app


def create_process(settings: Settings, process: str) -> Flask:
    """`create_app` for a process of this name, which tells of its spans if that is wanted.

    Raises:
        InvalidSettings: it is wanted, and what it needs is not installed.
    """
    if settings.tracing_endpoint is not None:
        try:  # which costs time and memory: only for those who use it
            import_module("app.integrations.telemetry").start(settings, process=process)
        except ModuleNotFoundError as error:
            raise InvalidSettings(f"TRACING_ENDPOINT needs {error.name}: {_TRACING}") from None
    return create_app(settings)


def configure(app: Flask, settings: Settings) -> None:
    app.config.update(
        INSTALLATION_ID=settings.installation_id,
        TIME_LIMIT=time_limit(settings),
        RESERVED_SLUGS=frozenset(settings.reserved_slugs),
        MAX_JSON_BYTES=settings.max_json_bytes,
        MAX_UPLOAD_BYTES=settings.max_upload_bytes,
        MAX_VERSIONS=settings.max_versions,
        MAX_ZIP_DOCUMENTS=settings.max_zip_documents,
        MAX_ZIP_BYTES=settings.max_zip_bytes,
        TRASH_DAYS=settings.trash_days,
        TENANT_QUOTA_BYTES=settings.tenant_quota_bytes,
        TENANT_QUOTA_DOCUMENTS=settings.tenant_quota_documents,
        VERIFY_AT_ONCE_BYTES=settings.verify_at_once_bytes,
        MAIN_OWNER_URL=settings.database_owner_url
        and db.sqlalchemy_url(settings.database_owner_url.get_secret_value()),
    )
    # Clients send tokens in headers, and no route sets a cookie. One that ever did would get these.
    app.config.update(
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https://"),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    # /documents/ is not /documents: one address for one thing.
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False


def time_limit(settings: Settings) -> deadlines.Limit:
    statement = max(db.LONGEST_STATEMENT, settings.tenant_statement_timeout_ms / 1000)
    return deadlines.Limit(settings.request_seconds, statement)


def sso_ports(app: Flask, settings: Settings, secrets: SecretBox) -> SsoPorts:
    return SsoPorts(
        settings=settings,
        secrets=secrets,
        entra=entra.Entra(settings),
        graph=graph.Graph(settings),
        parcels=Parcels(app.extensions["redis"], secrets, settings),
    )


class RequestEdge:
    """`app.core.http.Edge`: what a request needs of the domains and of tenancy."""

    def __init__(self, manager: tenancy.TenantDatabaseManager) -> None:
        self._manager = manager

    def identify(
        self, authorization: str | None, tenant: TenantName | None, *, any_state: bool
    ) -> Caller:
        return access.identify(tokens.verify(authorization), tenant=tenant, any_state=any_state)

    def open_session(self, plane: Plane, caller: Caller | None) -> AbstractContextManager[Any]:
        if plane != "main":
            return self._open_tenant(plane, caller)
        if caller is None:
            return db.main_session()
        return db.main_session(user_id=caller.user_id, tenant_id=caller.tenant_id)

    def _open_tenant(self, plane: Plane, caller: Caller | None) -> AbstractContextManager[Any]:
        if caller is None or caller.location is None:
            raise LookupError("a route on the tenant plane without a tenant")
        location = cast("TenantLocation", caller.location)
        match plane:
            case "tenant_rows":
                return nullcontext(self._manager.tenant_rows(location))
            case "tenant_reads":
                return self._manager.tenant_reads(location)
        return self._manager.tenant_db_session(location)


class TaskEdge:
    """`app.core.tasks.TenantOpener`: what a job needs of the tenants and of tenancy."""

    def __init__(self, manager: tenancy.TenantDatabaseManager, registry: TenantRegistry) -> None:
        self._manager = manager
        self._registry = registry

    def __call__(self, tenant_id: UUID) -> AbstractContextManager[TenantSession]:
        return self._manager.tenant_db_session(self._registry.locate_writable(tenant_id))


def dependencies(
    manager: tenancy.TenantDatabaseManager, client: VaultClient | None
) -> tuple[health.Part, ...]:
    """What /health/ready asks; docs/operations.md says what is missing without each."""
    parts = (
        health.Part(name="main_database", ask=db.ping, vital=True),
        health.Part(name="tenants_server", ask=manager.servers.ping),
        health.Part(name="redis", ask=redis.ping),
        health.Part(name="storage", ask=storage.ping),
        health.Part(name="workers", ask=canaries.ask),
    )
    if client is None:
        return parts
    return (*parts, health.Part(name="vault", ask=client.ping))


def answer_box(settings: Settings) -> FernetBox:
    """Seals the answers that are kept with Idempotency-Keys.

    They live for a day, and are written by requests that have done their work: none of these shall
    wait for Vault, or fail because it is away.
    """
    own = derived_key(settings.secret_key.get_secret_value(), "idempotency")
    return FernetBox([own, *(key.get_secret_value() for key in settings.secrets_keys)])


def create_delivery(app: Flask, settings: Settings) -> Delivery:
    """What calls the handlers of events; for a process that is given the messages."""
    return Delivery(settings, open_tenant=app.extensions["open_tenant"])


def create_relay(app: Flask, settings: Settings, publisher: Publisher) -> Relay:
    """What sends the outboxes' events to the publisher."""
    outboxes = Outboxes(
        publisher,
        source=settings.public_url,
        batch=settings.outbox_batch,
        open_tenant=app.extensions["open_tenant"],
    )
    return Relay(outboxes, app.extensions["marks"], active_ids_after, settings)


def shell_context() -> dict[str, Any]:
    """What `flask shell` knows: every model, both sessions' openers, the manager."""
    models = {
        name: value
        for module in MODELS
        for name, value in vars(module).items()
        if isinstance(value, type) and hasattr(value, "__tablename__")
    }
    return models | {
        "db": db.db,
        "main_session": db.main_session,
        "platform_session": db.platform_session,
        "manager": tenancy.current_manager(),
    }
