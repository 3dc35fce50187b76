"""The whole product on one machine without containers: what `make run` does."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from embedded import environment
from embedded.application import Application
from embedded.changes import watched
from embedded.cluster import wheel_bin_dir
from embedded.console import Console
from embedded.entra.running import DemoDirectory
from embedded.environment import EnvironmentFile
from embedded.errors import FolderBusy, PortTaken, StoppedEarly
from embedded.locks import FolderLock
from embedded.ports import is_taken
from embedded.postgres import PostgresServer
from embedded.preparation import Person, Preparation, write_people
from embedded.process import ChildProcess
from embedded.programs import Programs
from embedded.valkey import ValkeyServer

_STEPS = 7
_STEPS_OF_SSO = 2
_LOOK_EVERY = 0.3


@dataclass(frozen=True)
class Folders:
    """The project, and the one folder that a run leaves behind."""

    root: Path
    data: Path

    @property
    def logs(self) -> Path:
        """What every child says."""
        return self.data / "logs"

    @property
    def people(self) -> Path:
        """Who can log in where."""
        return self.data / "credentials.json"


class Supervisor:
    """Starts everything in order, watches over it, stops it in the opposite order."""

    def __init__(self, folders: Folders, *, port: int, outer: Mapping[str, str]) -> None:
        self._folders = folders
        self._port = port
        self._url = f"http://localhost:{port}"
        self._outer = dict(outer)
        self._file = EnvironmentFile(folders.data / "tenantry.env")
        self._sso = _is_on(self._outer.get("SSO_DEMO"))
        self._console = Console(steps=_STEPS + self._sso * _STEPS_OF_SSO)
        self._servers: list[ChildProcess] = []

    def run(self) -> None:
        """Run until StopRequested, or StoppedEarly because something ended by itself."""
        with ExitStack() as stack:
            self._claim(stack)
            self._file.generate_secrets()
            admin_url = self._start_postgres(stack)
            redis_url = self._start_valkey(stack)
            self._prepare_server(admin_url)
            inner = self._environment(redis_url)
            self._prepare_storage(inner)
            people = self._prepare_data(inner)
            if self._sso:
                inner |= self._start_directory(stack)
            programs = self._start_programs(stack, inner)
            page = self._link_directory(inner) if self._sso else None
            self._welcome(people, page)
            self._watch_over(programs)

    def _claim(self, stack: ExitStack) -> None:
        """Before anything starts: nobody else works on these data, nobody else has the port."""
        self._folders.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FolderLock(self._folders.data)
        try:
            lock.acquire()
        except FolderBusy as error:
            raise FolderBusy(f"Tenantry runs already: {error}") from error
        stack.callback(lock.release)
        if is_taken(self._port):
            raise PortTaken(
                f"Port {self._port} is taken by another program. Stop that program, or choose "
                f"another port: PORT={self._port + 1} make run"
            )
        self._folders.logs.mkdir(exist_ok=True)
        for log in self._folders.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))

    def _start_postgres(self, stack: ExitStack) -> str:
        if given := self._outer.get("DATABASE_URL"):
            with self._console.step("PostgreSQL: the server that DATABASE_URL names"):
                return given
        log = self._folders.logs / "postgres.log"
        server = PostgresServer(self._folders.data / "postgres", log=log)
        with self._console.step("PostgreSQL: starting"):
            stack.enter_context(server)
        self._servers.append(server.child)
        return server.admin_url

    def _start_valkey(self, stack: ExitStack) -> str:
        if given := self._outer.get("REDIS_URL"):
            with self._console.step("Redis: the server that REDIS_URL names"):
                return given
        log = self._folders.logs / "valkey.log"
        server = ValkeyServer(self._folders.data / "valkey", log=log)
        with self._console.step("Valkey: starting"):
            stack.enter_context(server)
        self._servers.append(server.child)
        return server.url

    @property
    def _server_is_prepared(self) -> bool:
        names = ("DATABASE_URL", *environment.SERVER_ROLES)
        return all(self._outer.get(name) for name in names)

    @property
    def _preparation(self) -> Preparation:
        return Preparation(self._folders.root, self._folders.logs, self._file.path)

    def _prepare_server(self, admin_url: str) -> None:
        if self._server_is_prepared:
            with self._console.step("Roles and main database: prepared by you"):
                return
        with self._console.step("Roles and main database"):
            self._preparation.prepare_server(
                admin_url, ours_alone="DATABASE_URL" not in self._outer, environment=self._outer
            )

    def _environment(self, redis_url: str) -> dict[str, str]:
        storage = self._folders.data / "storage"
        storage.mkdir(mode=0o700, exist_ok=True)
        here = {"REDIS_URL": redis_url, "STORAGE_PATH": str(storage), "PUBLIC_URL": self._url}
        here |= {"MAIL_FOLDER": str(self._folders.data / "mail"), "REGISTRATION_ENABLED": "true"}
        here["WEBHOOK_ALLOW_LOOPBACK"] = "true"
        if "DATABASE_URL" not in self._outer:
            here["POSTGRES_TOOLS"] = str(wheel_bin_dir())
        self._file.keep({"ENVIRONMENT": "development", **here})
        return environment.application_environment(
            self._outer, self._file.read(), server_is_prepared=self._server_is_prepared
        )

    def _prepare_storage(self, inner: Mapping[str, str]) -> None:
        with self._console.step("File store"):
            self._preparation.prepare_storage(inner)

    def _prepare_data(self, inner: Mapping[str, str]) -> list[Person]:
        with self._console.step("Schema, tenant template, demonstration tenants"):
            people = self._preparation.prepare_data(inner, people_file=self._folders.people)
            write_people(self._folders.people, url=self._url, people=people)
        return people

    def _start_directory(self, stack: ExitStack) -> dict[str, str]:
        """What the application has to know of the stand-in for Entra ID."""
        directory = DemoDirectory(self._folders.data / "entra", api_port=self._port)
        with self._console.step("A stand-in for Entra ID"):
            child = directory.start(stack, self._folders.root / "backend", self._folders.logs)
        self._servers.append(child)
        return directory.environment

    def _link_directory(self, inner: Mapping[str, str]) -> str:
        """The page where a whole sign-in can be seen."""
        with self._console.step("Acme signs in by it"):
            return self._preparation.link_directory(inner, people_file=self._folders.people)

    def _start_programs(self, stack: ExitStack, inner: Mapping[str, str]) -> Programs:
        backend = self._folders.root / "backend"
        application = Application(backend, self._folders.logs, inner, self._port)
        programs = Programs(application, self._console)
        stack.callback(programs.stop)
        with self._console.step("Job worker, scheduler and consumer"):
            programs.start_behind()
        with self._console.step("API"):
            programs.start_api()
        return programs

    def _welcome(self, people: Sequence[Person], page: str | None) -> None:
        say = self._console.say
        say(f"\nTenantry answers on {self._url}\n")
        for person in people:
            say(f"  {person['email']:<28} {person['password']:<20} {person['note']}")
        if not people:
            say("  Everybody was there already, with the passwords that they had.")
        if page is not None:
            say(f"\nSign in with a directory, in a browser:\n\n  {page}")
        say("\nTry, in another terminal:\n")
        for command in first_commands(self._url, people):
            say(f"  {command}\n")
        say(f"Logs: {self._folders.logs}    Code changes load by themselves.    Stop: Ctrl-C\n")

    def _watch_over(self, programs: Programs) -> None:
        with watched(self._folders.root / "backend") as changes:
            while True:
                for server in self._servers:
                    if not server.alive:
                        raise StoppedEarly(server.obituary())
                programs.check()
                programs.show_requests()
                if changed := changes.next(seconds=_LOOK_EVERY):
                    programs.reload(changed)


def _is_on(value: str | None) -> bool:
    return (value or "").lower() in {"1", "true", "yes", "on"}


def first_commands(url: str, people: Sequence[Person]) -> list[str]:
    """Log in, create a tenant, and let the tour do the rest."""
    if not people:
        return ["make tour"]
    alice = next((person for person in people if person["email"].startswith("alice")), people[0])
    login = f'{{"email": "{alice["email"]}", "password": "{alice["password"]}"}}'
    tenant = '{"name": "Initech", "slug": "initech"}'
    content = "-H 'Content-Type: application/json'"
    extract = """sed -E 's/.*"access_token": *"([^"]*)".*/\\1/'"""
    return [
        f"TOKEN=$(curl -s {url}/api/auth/login {content} -d '{login}' | {extract})",
        f"curl -s {url}/api/tenants {content} -H \"Authorization: Bearer $TOKEN\" -d '{tenant}'",
        "make tour",
    ]
