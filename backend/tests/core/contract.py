"""What the contract says of an answer: its status, its type, its headers, its content.

The contract's ``default`` answer is left out here, so a status that an operation may answer has to
be among its own.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pytest

from app.core import openapi
from tests.cast import House, Person
from tests.core.apps import unconnected_app

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.core.failures import Failure, FailureGroup  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

_CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def _operations() -> dict[str, Any]:
    contract = openapi.generate(unconnected_app())
    for item in contract["paths"].values():
        for operation in item.values():
            del operation["responses"]["default"]
    found = schemathesis.openapi.from_dict(contract).get_all_operations()
    return {operation.label: operation for operation in (result.ok() for result in found)}


# By method and path: "GET /api/tenants/{tenant_id}".
OPERATIONS: Final = _operations()
BY_ID: Final = {
    operation.definition.raw["operationId"]: operation for operation in OPERATIONS.values()
}


def conforms(operation: Any, answer: Any, case: Any = None) -> None:
    """Fails where the answer, which the case got, is another than the contract says."""
    case = case or operation.Case(path_parameters={p.name: "x" for p in operation.path_parameters})
    try:
        case.validate_response(answer, checks=_CHECKS)
    except (Failure, FailureGroup) as failure:
        told = getattr(failure, "exceptions", [failure])
        pytest.fail("\n".join(f"{operation.label}: {each}" for each in told) + f"\n{answer.text}")


def things(person: Person, house: House) -> dict[str, Callable[[], str]]:
    """What is there, by the parameters that name it in a path; made once, when asked for."""
    tenant = f"/api/tenants/{house.id}"

    def made(path: str, **sent: Any) -> str:
        answer = person.post(tenant + path, **sent)
        assert answer.status_code == 201, answer.text
        return str(answer.get_json()["id"])

    def document() -> str:
        return made("/documents", data={"file": (io.BytesIO(b"plans"), "plans.txt")})

    return {
        "tenant_id": lambda: str(house.id),
        "document_id": cache(document),
        "number": lambda: "1",
        "upload_id": cache(
            lambda: made("/documents/uploads", json={"name": "plans.txt", "size": 5, "parts": 1})
        ),
        "invitation_id": cache(
            lambda: made("/invitations", json={"email": "bob@example.com", "role": "viewer"})
        ),
        "domain_id": cache(
            lambda: made("/domains", json={"domain": f"fuzzed-{house.id.hex}.example.com"})
        ),
        "user_id": lambda: str(person.user_id),
        "session_id": cache(
            lambda: str(person.again().get("/api/auth/current-session").get_json()["id"])
        ),
    }
