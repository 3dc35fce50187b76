"""Requests made up from the contract, by Schemathesis: each gets the answer that the contract says.

A few for each operation here; `make fuzz` sends FUZZ_EXAMPLES, thousands.
"""

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as budget
from hypothesis import strategies as some
from werkzeug.test import run_wsgi_app

from app.core.tenant_names import HEADER
from app.settings import Settings
from tests.cast import House, Person, new_house, new_person
from tests.core.apps import another_app, elsewhere
from tests.core.contract import OPERATIONS, conforms, things

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "10"))
BUDGET: Final = budget(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


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


def whole(app: Flask) -> "WSGIApplication":
    """The application, whose answers are read to their end, so that no file stays open."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body, status, headers = run_wsgi_app(app, environ, buffered=True)
        start_response(status, list(headers))
        return body

    return answer


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_a_program_makes_up(name: str, person: Person, house: House) -> None:
    operation, there = OPERATIONS[name], things(person, house)

    @BUDGET
    @given(case=operation.as_strategy(), at_home=some.booleans())
    def send(case: Any, *, at_home: bool) -> None:
        for parameter in case.path_parameters or {}:
            if at_home and parameter in there:
                case.path_parameters[parameter] = there[parameter]()
        if at_home and HEADER in case.headers:
            case.headers[HEADER] = house.slug
        if operation.definition.raw["security"]:
            nobody = case.call(app=whole(person.app))
            # Refused before anybody asks who it is: the address cannot be read, or names nothing.
            unread = {400} if "%00" in str(nobody.request.url) else set()
            nowhere = set() if at_home else {400, 404}
            assert nobody.status_code in {401} | unread | nowhere, case.as_curl_command()
        answer = case.call(app=whole(person.app), headers=person.headers)
        assert answer.status_code != 500, (case.as_curl_command(), answer.text)
        conforms(operation, answer, case)

    send()


def test_the_check_sees_what_is_wrong(person: Person) -> None:
    """Another operation's answer, and a status that is not the operation's own."""
    for name, path in (("GET /api/users/me", "/health"), ("GET /health", "/api/nowhere")):
        with pytest.raises(pytest.fail.Exception):
            conforms(OPERATIONS[name], person.get(path))
