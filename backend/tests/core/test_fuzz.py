"""Requests made up from the contract, by Schemathesis: none is an error of ours.

A few for each operation here; `make fuzz` sends FUZZ_EXAMPLES, thousands.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app.core import openapi
from app.settings import Settings
from tests.cast import House, Person, new_house, new_person
from tests.core.apps import another_app, elsewhere, unconnected_app

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, given  # noqa: E402  # comes with schemathesis
from hypothesis import settings as budget  # noqa: E402
from hypothesis import strategies as some  # noqa: E402

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
OPERATIONS = {
    operation.label: operation
    for operation in (
        result.ok()
        for result in schemathesis.openapi.from_dict(
            openapi.generate(unconnected_app())
        ).get_all_operations()
    )
}


@pytest.fixture(scope="module")
def fuzzed(app: Flask, settings: Settings) -> Iterator[Flask]:
    """An instance that asks no resolver of the machine's."""
    with another_app(settings, dns_servers=("127.0.0.1:9",), dns_timeout=0.2) as own:
        yield own


@pytest.fixture
def person(app: Flask, fuzzed: Flask) -> Person:
    with app.app_context():
        return elsewhere(new_person(app, "Petra", platform_role="platform_admin"), fuzzed)


@pytest.fixture
def house(app: Flask, person: Person) -> House:
    with app.app_context():
        return new_house("fuzzed", person)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_program_makes_up(name: str, person: Person, house: House) -> None:
    @budget(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[name].as_strategy(), at_home=some.booleans())
    def send(case: Any, *, at_home: bool) -> None:
        if at_home and "tenant_id" in (case.path_parameters or {}):
            case.path_parameters["tenant_id"] = str(house.id)
        answer = case.call(app=person.app, headers=person.headers)
        assert answer.status_code != 500, (case.as_curl_command(), answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"], answer.text

    send()
