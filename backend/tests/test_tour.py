"""The tour that a newcomer takes, against a real server."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from app.settings import Settings
from embedded.ports import free_port
from tests.cast import PASSWORD, Cast
from tests.core.live import running_api
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
    with running_api(settings, tmp_path_factory.mktemp("logs")) as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a plan.md"
    path.write_text("# The plan\n", encoding="utf-8")
    return path


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
