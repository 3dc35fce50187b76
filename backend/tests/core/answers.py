"""What all refusals have in common (RFC 9457)."""

from typing import Any

from werkzeug.test import TestResponse


def refusal(answer: TestResponse, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem document of an answer that has to be a refusal of this kind."""
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/problem+json"
    problem: dict[str, Any] = answer.get_json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["code"]
    assert code is None or problem["code"] == code
    assert problem["request_id"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    return problem
