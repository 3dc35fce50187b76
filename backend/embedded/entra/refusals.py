"""Errors of the stand-in's token endpoint, in Entra's words."""

from typing import Any


class Refusal(Exception):
    """An error answer (RFC 6749, section 5.2) with Entra's number."""

    def __init__(
        self,
        error: str,
        number: str,
        text: str,
        *,
        status: int = 400,
        retry_after: int | None = None,
        claims: str | None = None,
    ) -> None:
        super().__init__(text)
        self.error, self.number, self.text = error, number, text
        self.status, self.retry_after, self.claims = status, retry_after, claims

    @property
    def document(self) -> dict[str, Any]:
        described = f"AADSTS{self.number}: {self.text} Trace ID: 0 Correlation ID: 0"
        document: dict[str, Any] = {
            "error": self.error,
            "error_description": described,
            "error_codes": [int(self.number)],
        }
        return document if self.claims is None else document | {"claims": self.claims}

    @classmethod
    def named(cls, misbehaviour: str | None) -> "Refusal | None":
        """That of a misbehaviour which is one."""
        given = _NAMED.get(misbehaviour or "")
        return None if given is None else cls(*given[0], **given[1])


_NAMED: dict[str, tuple[tuple[str, str, str], dict[str, Any]]] = {
    "revoked": (("invalid_grant", "50173", "The grant was revoked."), {}),
    "expired_grant": (("invalid_grant", "700082", "The refresh token has expired."), {}),
    "interaction_required": (
        ("interaction_required", "50076", "Multi-factor authentication is required."),
        {"claims": '{"access_token":{"capolids":{"essential":true,"values":["1"]}}}'},
    ),
    "expired_secret": (("invalid_client", "7000222", "The client secret has expired."), {}),
    "429": (
        ("temporarily_unavailable", "90055", "Too many requests."),
        {"status": 429, "retry_after": 120},
    ),
    "503": (("temporarily_unavailable", "90033", "Transient."), {"status": 503}),
}
