"""The tour that a newcomer takes, against a real server, with a generated client, and by hand."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
import requests
from flask import Flask
from sqlalchemy import select

from app.core import ids
from app.core.db import platform_session
from app.domains.outbox.service.delivery import Delivery
from app.domains.outbox.service.relaying import InProcess
from app.domains.tenants.models import Tenant
from app.settings import Settings
from embedded.ports import free_port
from tests.cast import PASSWORD, Cast, new_house, new_person
from tests.core.apps import another_app
from tests.core.live import running_api
from tests.domains.outbox.conftest import outboxes_into
from tests.domains.webhooks.conftest import do_webhooks
from tests.paths import PROJECT


@pytest.fixture(scope="module")
def tour() -> Iterator[ModuleType]:
    """scripts/tour.py, which is a program and no part of a package."""
    spec = importlib.util.spec_from_file_location("tour", PROJECT / "scripts" / "tour.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tour"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tour"]


@pytest.fixture(scope="module")
def live(cast: Cast, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("logs")
    with running_api(settings, folder, webhook_allow_loopback=True) as url:
        yield url


@pytest.fixture
def behind(app: Flask, settings: Settings) -> Iterator[None]:
    """What consumer and worker do, for the tour's tenant alone."""
    over = Event()

    def work() -> None:
        with another_app(settings, webhook_allow_loopback=True) as own, own.app_context():
            delivery = Delivery(settings, open_tenant=own.extensions["open_tenant"])
            outboxes = outboxes_into(own, InProcess(delivery.receive_all))
            while not over.wait(0.1):
                for tenant_id in tours():
                    outboxes.send(str(tenant_id))
                    do_webhooks(own, tenant_id)

    def tours() -> list[UUID]:
        with platform_session() as session:
            newest = select(Tenant.id).where(Tenant.slug.like("tour-%"), Tenant.state == "active")
            return list(session.scalars(newest.order_by(Tenant.id.desc()).limit(1)))

    thread = Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a plan.md"
    path.write_text("# The plan\n", encoding="utf-8")
    return path


Part = Callable[[str], Any]


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Part]:
    """Modules, by their names, of a client that openapi-python-client makes of swagger.yaml."""
    folder = tmp_path / "tenantry_client"
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n", encoding="utf-8")
    words = f"generate --path {PROJECT}/swagger.yaml --meta none --fail-on-warning".split(" ")
    options = ["--output-path", str(folder), "--config", str(tmp_path / "settings.yaml")]
    made = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *words, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{folder.name}{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


@pytest.fixture
def sign_in(part: Part, live: str) -> Iterator[Callable[[str], Any]]:
    """Makes the generated client of whoever has this address, signed in."""
    with ExitStack() as stack:

        def sign_in(email: str) -> Any:
            body = part(".models").LogIn(email=email, password=PASSWORD)
            nobody = stack.enter_context(part("").Client(live))
            tokens = part(".api.identity.log_in").sync(client=nobody, body=body)
            return stack.enter_context(part("").AuthenticatedClient(live, tokens.access_token))

        yield sign_in


def test_a_generated_client_takes_it(part: Part, sign_in: Callable[[str], Any], cast: Cast) -> None:
    """Every answer is of the type that the contract promises, or a Problem."""
    alice, mallory, models = sign_in(cast.alice.email), sign_in(cast.mallory.email), part(".models")

    def ask(who: Any, route: str, /, *path: Any, **given: Any) -> Any:
        return part(f".api.{route}").sync(*path, client=who, **given)

    wish = models.NewTenant(name="Initech", slug=f"client-{ids.new_id().hex[-8:]}")
    tenant = ask(alice, "tenants.create_tenant", body=wish)
    assert (type(tenant), tenant.state) == (models.Tenant, "active")

    file = part(".types").File(BytesIO(b"# The plan"), "a plan.md", "text/markdown")
    upload = models.UploadDocumentBody(file=file)
    document = ask(alice, "documents.upload_document", tenant.id, body=upload)
    assert (type(document), document.name, document.size) == (models.Document, "a plan.md", 10)
    listed = ask(alice, "documents.list_documents", tenant.id, name="PLAN")
    assert [each.id for each in listed.items] == [document.id]
    assert not listed.next_cursor
    link = ask(alice, "downloads.create_link", tenant.id, document.id, expires_in=60)
    assert requests.get(link.url, timeout=20).content == b"# The plan"

    there = tenant.id, document.id
    hidden = ask(mallory, "documents.get_document", *there)
    assert (type(hidden), hidden.status, hidden.code) == (models.Problem, 404, "not_found")
    deleted = part(".api.documents.delete_document").sync_detailed(*there, client=alice)
    assert deleted.status_code == 204
    assert ask(alice, "documents.get_document", *there).status == 404


def test_the_page_for_authors_of_clients(live: str, app: Flask) -> None:
    """docs/api.md: its commands, in its order, print what it says."""
    with app.app_context():
        alice = new_person(app, "Alice")
        new_house("api", alice)
    page = (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")
    _, *blocks = re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", page, re.DOTALL)
    assert len(blocks) >= 5
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\necho ---\n".join(said for said, _ in blocks)],
        env={"PATH": os.environ["PATH"], "URL": live, "EMAIL": alice.email, "PASSWORD": PASSWORD},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split("---\n") == [printed for _, printed in blocks], done.stderr


@pytest.mark.usefixtures("behind")
def test_the_tour_goes_through(tour: ModuleType, live: str, cast: Cast, file: Path) -> None:
    told: list[str] = []
    tour.take_tour(
        live,
        owner=tour.Person(cast.alice.email, PASSWORD),
        stranger=tour.Person(cast.mallory.email, PASSWORD),
        file=file,
        say=told.append,
    )
    story = "\n".join(told)
    assert "All as it should be." in story
    assert story.count("404") >= 6, "the stranger's requests"
    assert "document.uploaded.v1 arrived, and its signature is right" in story
    assert "A webhook endpoint of The tour's company is disabled" in story
    assert "document.uploaded, document.downloaded" in story
    assert "whsec_" not in story
    assert PASSWORD not in story
    assert "Bearer" not in story


def test_the_tour_notices_a_stranger_who_is_none(
    tour: ModuleType, live: str, cast: Cast, file: Path
) -> None:
    """The control: where the wall is missing, it fails and says where."""
    owner = tour.Person(cast.alice.email, PASSWORD)
    with pytest.raises(tour.TourFailed, match="expected 404, got 200"):
        tour.take_tour(live, owner=owner, stranger=owner, file=file, say=lambda _: None)


def test_the_tour_says_that_nobody_answers(tour: ModuleType, cast: Cast, file: Path) -> None:
    nobody = tour.Person(cast.alice.email, PASSWORD)
    with pytest.raises(tour.TourFailed, match="make run"):
        tour.take_tour(
            f"http://127.0.0.1:{free_port()}",
            owner=nobody,
            stranger=nobody,
            file=file,
            say=lambda _: None,
        )


def test_a_wrong_password_ends_it(tour: ModuleType, live: str, cast: Cast, file: Path) -> None:
    nobody = tour.Person(cast.alice.email, "wrong")
    with pytest.raises(tour.TourFailed, match="401"):
        tour.take_tour(live, owner=nobody, stranger=nobody, file=file, say=lambda _: None)
