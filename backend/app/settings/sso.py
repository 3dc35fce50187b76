"""Single sign-on: where Entra ID and Microsoft Graph are, and how connections to them are kept."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from app.settings.rules import Group, in_production


class SingleSignOn(Group):
    azure_authority_url: str = "https://login.microsoftonline.com"
    """Where Entra ID signs people in; a sovereign cloud has its own, such as
    `https://login.microsoftonline.us`."""
    graph_url: str = "https://graph.microsoft.com"
    """Where Microsoft Graph answers, in the same cloud: `https://graph.microsoft.us`."""
    azure_ca_file: Path | None = None
    """Certificates that both are checked against instead of the public ones: for a stand-in;
    production refuses it."""
    azure_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long to wait for each of their answers, until its last byte."""
    sso_login_seconds: Annotated[int, Field(ge=30, le=3600)] = 600
    """How long somebody may take to sign in there, and then to link an account."""
    sso_refresh_before_seconds: Annotated[int, Field(ge=60, le=86_400)] = 30 * 60
    """How long before a token from there expires a job renews it."""
    sso_attempt_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long failed sign-ins are kept for the tenant's owners to look at."""

    @field_validator("azure_authority_url", "graph_url")
    @classmethod
    def _is_an_https_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" or url.rstrip("/") != f"https://{parts.netloc}".lower():
            raise ValueError("it is an origin such as https://login.microsoftonline.com")
        return url.rstrip("/")

    @field_validator("azure_ca_file")
    @classmethod
    def _is_for_a_stand_in(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None and in_production(info):
            raise ValueError("production checks certificates against the public ones")
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path
