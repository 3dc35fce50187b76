"""`TenantDatabaseManager`: the one door to tenants' databases."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast
from uuid import UUID

import psycopg
from flask import Flask, current_app
from sqlalchemy.exc import ProgrammingError

from app.core import ids
from app.core.db import transaction
from app.core.secrets import SecretBox
from app.settings import Settings
from app.tenancy import migrations, provisioning, spares, templates
from app.tenancy.connections import Budget, BudgetPool, create_tenant_engine
from app.tenancy.credentials import Credentials
from app.tenancy.inspection import attempts
from app.tenancy.inspection.isolation import Breach
from app.tenancy.locations import Door, Registry, TenantLocation, TenantUnavailable, located
from app.tenancy.logins import Logins
from app.tenancy.migrations import applying, tree
from app.tenancy.migrations.rendering import Recipe
from app.tenancy.names import Installation, tenant_database_name
from app.tenancy.server import Connection, Server, comment_of, database_exists
from app.tenancy.servers import DEFAULT_SERVER, Servers
from app.tenancy.sessions import TenantReads, TenantRows, TenantSession

logger = logging.getLogger(__name__)


class TenantDatabaseManager:
    """Creates, migrates, opens and drops tenants' databases.

    A tenant is named by its database's name, or by its `TenantLocation` where the caller has one
    and a look-up in the registry can be spared.
    """

    def __init__(self, settings: Settings, *, registry: Registry, secrets: SecretBox) -> None:
        self._settings = settings
        self._registry = registry
        self._secrets = secrets
        self._logins = Logins(secrets)
        self.installation = Installation(settings.installation_id)
        self.servers = Servers(settings, self.installation, registry=registry, secrets=secrets)
        self.engine = create_tenant_engine(self._connect, Budget.of(settings))
        self.patience = applying.Patience(
            lock_timeout_ms=settings.migration_lock_timeout_ms,
            statement_timeout_ms=settings.migration_statement_timeout_ms,
            attempts=settings.migration_attempts,
        )

    # Tenant data.

    @contextmanager
    def tenant_db_session(self, tenant: str | TenantLocation) -> Iterator[TenantSession]:
        """One transaction on the tenant's database, committed where the block ends well.

        Raises:
            NotFound: no tenant has this database.
            TenantBusy: no connection came free in time.
            AppError: it wrote, and the tenant is read-only; the registry says why.
        """
        location = self._locate(tenant)
        with (
            self._writes_explained(location),
            located(location),
            transaction(TenantSession(self.engine, location)) as session,
        ):
            yield session

    @contextmanager
    def tenant_reads(self, tenant: str | TenantLocation) -> Iterator[TenantReads]:
        """A session without a transaction, for a single question: half the price of the other.

        Raises:
            NotFound, TenantBusy: as `tenant_db_session`.
        """
        location = self._locate(tenant)
        with located(location), TenantReads(self.engine, location) as session:
            yield session

    def tenant_rows(self, tenant: str | TenantLocation) -> TenantRows:
        """What asks single questions, each on a connection of its own; NotFound as above."""
        return TenantRows(self.engine, self._locate(tenant))

    # Life of a tenant's database.

    def new_location(
        self, tenant_id: UUID, slug: str, *, server: str = DEFAULT_SERVER
    ) -> TenantLocation:
        """A name and a login for a new tenant, for the registry to keep; creates nothing yet."""
        return TenantLocation(
            tenant_id=tenant_id,
            server=server,
            database=tenant_database_name(
                slug, tenant_id, opaque=self._settings.opaque_database_names
            ),
            sealed_credentials=self._secrets.seal(
                Credentials.generate().dumps(), context=str(tenant_id)
            ),
        )

    def location_beside(self, location: TenantLocation, database: str) -> TenantLocation:
        """Another database of the same tenant's on the same server, with a login of its own."""
        login = Credentials.generate().dumps()
        sealed = self._secrets.seal(login, context=location.context)
        return replace(location, database=database, sealed_credentials=sealed, read_only=False)

    def provision(self, tenant: str | TenantLocation) -> str:
        """Makes role, database and tables, whatever part of them exists, and returns the revision.

        Raises:
            ServerUnavailable: the server cannot be reached.
            TenantUnavailable: another process is working on the same tenant.
        """
        location = self._locate(tenant)
        if self.create_tenant_database(location):
            return migrations.head()
        return self.create_tenant_tables(location)

    def claimed_location(self, location: TenantLocation, spare: TenantLocation) -> TenantLocation:
        """The location of a tenant that is going to have the spare, with the spare's login."""
        login = self._secrets.open(spare.sealed_credentials, context=spare.context)
        return replace(
            location,
            server=spare.server,
            spare_id=spare.tenant_id,
            sealed_credentials=self._secrets.seal(login, context=location.context),
        )

    def create_tenant_database(self, tenant: str | TenantLocation) -> bool:
        """Role, database and grants; True where the database is new and at the newest revision.

        Raises:
            ServerUnavailable, TenantUnavailable: as `provision`.
        """
        location = self._locate(tenant)
        with self.server_of(location).locked(location.database) as connection:
            adopted = spares.adopt(
                connection,
                self.installation,
                location,
                connection_limit=self._settings.tenant_role_connection_limit,
                statement_timeout_ms=self._settings.tenant_statement_timeout_ms,
            )
            if adopted is not None:
                return adopted == migrations.head()
            self._drop_spare(connection, location)
            created = not database_exists(connection, location.database)
            self.clone(connection, location)
            self.admit(connection, location)
        return created

    def admit(self, connection: Connection, location: TenantLocation) -> None:
        """The tenant's role, and its rights in a database that is there, however often."""
        provisioning.create_role(
            connection,
            self.installation,
            location,
            self._logins.of(location),
            connection_limit=self._settings.tenant_role_connection_limit,
        )
        provisioning.open_database(
            connection,
            self.installation,
            location,
            statement_timeout_ms=self._settings.tenant_statement_timeout_ms,
        )

    def create_empty_database(self, location: TenantLocation, revision: str) -> None:
        """Role, database and grants as any tenant's; the tables at a revision, the door shut.

        Raises:
            ServerUnavailable, TenantUnavailable: as `provision`.
            MigrationFailed: the schema could not be made.
        """
        server = self.server_of(location)
        with server.locked(location.database) as connection:
            templates.build(server, connection, location.database, revision)
            self.admit(connection, location)
            provisioning.shut_out(connection, self.installation, location)

    def create_tenant_tables(self, tenant: str | TenantLocation) -> str:
        """Brings the tables of a database that already existed to the newest revision."""
        return self.migrate_tenant_database(tenant)

    def migrate_tenant_database(self, tenant: str | TenantLocation, revision: str = "head") -> str:
        """Brings the tables to the revision; returns it.

        Raises:
            MigrationFailed: the database stays where its version row says.
        """
        location = self._locate(tenant)
        target = migrations.head() if revision == "head" else revision
        recipe = Recipe(tree.current(), self.installation, target)
        applying.migrate(self.server_of(location), location.database, recipe, self.patience)
        return target

    def drop_tenant_database(self, tenant: str | TenantLocation, *, force: bool = True) -> None:
        """Drops database and role; repeating it is harmless.

        Raises:
            DatabaseInUse: there are sessions, and ``force`` is false.
            NotOurs: the database is marked as another installation's.
        """
        location = self._locate(tenant)
        with self.server_of(location).locked(location.database) as connection:
            self._drop(connection, location, force=force)

    def settle_tenant_database(
        self, tenant: str | TenantLocation, wanted: Callable[[], Door | None]
    ) -> None:
        """Opens or shuts the door, or drops the database, as ``wanted`` says; None leaves it.

        ``wanted`` is asked under the tenant's lock: of many who settle at once, the last to ask has
        the last word, so that the server ends as the registry does. What was never made is shut.

        Raises:
            ServerUnavailable: the server cannot be reached.
            TenantUnavailable: another process is working on the same tenant, or there is no role
                to be let in.
            NotOurs: the database is marked as another installation's.
        """
        location = self._locate(tenant)
        with self.server_of(location).locked(location.database) as connection:
            match wanted():
                case Door.OPEN:
                    provisioning.let_in(connection, self.installation, location)
                case Door.READ_ONLY:
                    provisioning.make_read_only(connection, self.installation, location)
                    self.pool.close_tenant(location.key)
                case Door.SHUT if provisioning.role_exists(connection, location):
                    provisioning.shut_out(connection, self.installation, location)
                    self.pool.close_tenant(location.key)
                case Door.GONE:
                    self._drop(connection, location, force=True)

    def suspend_tenant_database(self, tenant: str | TenantLocation) -> None:
        """Shuts the tenant's role out and ends its sessions, in every process."""
        location = self._locate(tenant)
        with self.server_of(location).locked(location.database) as connection:
            provisioning.shut_out(connection, self.installation, location)
        self.pool.close_tenant(location.key)

    def can_be_read_only(self, tenant: str | TenantLocation) -> bool:
        """Whether its schema is new enough to let a reader read."""
        location = self._locate(tenant)
        with self.server_of(location).connect_as_owner(location.database) as connection:
            return provisioning.can_be_read_only(connection, self.installation)

    def resume_tenant_database(self, tenant: str | TenantLocation) -> None:
        """Lets the role in to read and to write, whatever it was before."""
        location = self._locate(tenant)
        with self.server_of(location).locked(location.database) as connection:
            provisioning.let_in(connection, self.installation, location)

    # Databases that wait for a tenant.

    @property
    def keeps_spares(self) -> bool:
        return self._settings.tenant_pool_size > 0

    def new_spare(self, server: str) -> TenantLocation:
        """A name and a login for a spare database, to be kept before it is made."""
        spare_id = ids.new_id()
        return spares.location_of(
            self.installation,
            spare_id,
            server=server,
            sealed_credentials=self._secrets.seal(
                Credentials.generate().dumps(), context=str(spare_id)
            ),
        )

    def make_spare(self, spare: TenantLocation) -> None:
        """A database at the newest revision that nobody can enter yet; once only.

        Raises:
            ServerUnavailable: the server cannot be reached.
        """
        with self.server_of(spare).locked(spare.database) as connection:
            spares.create_role(connection, self.installation, spare.role, self._logins.of(spare))
            self.clone(connection, spare)
            spares.finish(
                connection,
                self.installation,
                spare.database,
                statement_timeout_ms=self._settings.tenant_statement_timeout_ms,
            )

    # Isolation.

    def attack_as(
        self, tenant: TenantLocation, *, doors: tuple[str, ...], stranger: str, shut_out: bool
    ) -> list[Breach]:
        """What a tenant's own login gets through of what it should not; see `attempts.attack`."""
        breaches = attempts.attack(
            self.server_of(tenant),
            tenant,
            self._logins.of(tenant),
            doors=doors,
            stranger=stranger,
            shut_out=shut_out,
        )
        return list(breaches)

    # Inside.

    @property
    def server(self) -> Server:
        """The default server, which also keeps the locks of work on the whole fleet."""
        return self.servers.of(DEFAULT_SERVER)

    def server_of(self, location: TenantLocation) -> Server:
        """Where the tenant lies.

        Raises:
            ServerUnavailable: the registry knows no such server.
        """
        return self.servers.of(location.server)

    @property
    def pool(self) -> BudgetPool:
        return cast("BudgetPool", self.engine.pool)

    def forget_connections(self) -> None:
        """For a forked child: the parent's connections are not closed, only not used."""
        self.engine.dispose(close=False)

    @contextmanager
    def _writes_explained(self, location: TenantLocation) -> Iterator[None]:
        """Says why where the role lacks a right because its tenant is read-only."""
        try:
            yield
        except ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise
            reason = self._registry.why_read_only(location.tenant_id)
            if reason is None:
                raise
            if not location.read_only:  # it was not yet when the work began; a read may succeed now
                raise TenantUnavailable("This tenant has just become read-only.") from error
            raise reason from error

    def _locate(self, tenant: str | TenantLocation) -> TenantLocation:
        return tenant if isinstance(tenant, TenantLocation) else self._registry.locate(tenant)

    def _drop(self, connection: Connection, location: TenantLocation, *, force: bool) -> None:
        comment = comment_of(connection, location.database)
        if comment is not None and not any(
            self.installation.owns(comment, kind) for kind in ("tenant", spares.MARK)
        ):
            raise provisioning.NotOurs(location.database)
        self._logins.forget(location)
        # Our own idle connections are no reason to call it in use.
        self.pool.close_tenant(location.key)
        provisioning.drop_database(connection, location.database, force=force)
        self.pool.close_tenant(location.key)
        self._drop_spare(connection, location)

    def _drop_spare(self, connection: Connection, location: TenantLocation) -> None:
        """What is left of a spare that was claimed and did not become the tenant's."""
        if location.spare_id is not None:
            spare = self.installation.spare(location.spare_id)
            provisioning.drop_database(connection, spare, force=True)

    def clone(self, connection: Connection, location: TenantLocation) -> None:
        """An empty database at the newest revision, where there is none of the name."""
        template = self.installation.template(migrations.head())
        try:
            provisioning.create_database(connection, self.installation, location, template=template)
        except provisioning.TemplateMissing:
            template = templates.ensure(self.server_of(location))
            provisioning.create_database(connection, self.installation, location, template=template)

    def _connect(self, location: TenantLocation) -> Connection:
        credentials = self._logins.of(location)
        try:
            return self.server_of(location).connect_as_tenant(location, credentials)
        except psycopg.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
        # The role may change its own password; the registry's is the one that counts. libpq gives
        # no SQLSTATE here: where lc_messages is not English, 503 is answered until it is reset.
        logger.warning("tenant role's password was changed; resetting it")
        with self.server_of(location).locked(location.database) as connection:
            provisioning.reset_password(connection, location, credentials)
        return self.server_of(location).connect_as_tenant(location, credentials)


def init_app(app: Flask, manager: TenantDatabaseManager) -> None:
    app.extensions["tenancy"] = manager


def current_manager() -> TenantDatabaseManager:
    return cast("TenantDatabaseManager", current_app.extensions["tenancy"])
