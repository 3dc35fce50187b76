"""Where files lie, and how large what is sent may be."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from app.settings.rules import Group, in_production, refuse_weak


class Files(Group):
    storage_backend: Literal["disk", "s3"] = "disk"
    """Where files lie: `disk` or `s3`."""
    storage_path: Path = Path()
    """The folder of the file store. Required for disk."""
    s3_endpoint_url: str = ""
    """Where API and worker reach the store; no path. Required for s3."""
    s3_bucket: str = ""
    """The bucket, of this product alone. Required for s3."""
    s3_region: str = ""
    """The region that is signed. Required for s3."""
    s3_access_key_id: str = ""
    """Who may read, write, list and delete in the bucket. Required for s3."""
    s3_secret_access_key: SecretStr = SecretStr("")
    """The secret of that key. Required for s3."""
    s3_public_url: str = ""
    """Where clients reach the store: links are signed for this origin; else `S3_ENDPOINT_URL`."""
    s3_timeout: Annotated[float, Field(gt=0, le=60)] = 10
    """Seconds of waiting for an answer of the store; bytes that arrive, at 16 KiB a second or more,
    give more. One further attempt is made."""
    max_upload_bytes: Annotated[int, Field(ge=1)] = 5 * 1024**3
    """The largest file."""
    verify_at_once_bytes: Annotated[int, Field(ge=0)] = 64 * 1024**2
    """Direct uploads up to this size are verified in the request, larger ones in a job."""
    max_json_bytes: Annotated[int, Field(ge=1024)] = 1024**2
    """The largest JSON body."""
    max_versions: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Versions of one document that are kept."""
    trash_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Days after which what is in the trash is purged."""
    max_zip_documents: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Documents in one archive."""
    max_zip_bytes: Annotated[int, Field(ge=1)] = 2 * 1024**3
    """Bytes in one archive."""
    tenant_quota_bytes: Annotated[int | None, Field(ge=0)] = None
    """Bytes that each tenant may store that has no limit of its own; docs/documents.md."""
    tenant_quota_documents: Annotated[int | None, Field(ge=0)] = None
    """Documents that each tenant may have, with those in the trash; without it, no limit."""

    extraction_bytes: Annotated[int, Field(ge=0)] = 100 * 1024**2
    """The largest file that text is taken from, to be searched."""
    extraction_seconds: Annotated[float, Field(gt=0, le=300)] = 60
    """How long taking the text from one file may last."""
    extraction_memory_bytes: Annotated[int, Field(ge=128 * 1024**2)] = 768 * 1024**2
    """How much memory taking the text from one file may need."""
    extraction_characters: Annotated[int, Field(ge=1, le=1_000_000)] = 500_000
    """Characters of a file's text that are kept and searched; what follows is not."""

    @field_validator("storage_path")
    @classmethod
    def _is_given_for_disk(cls, path: Path, info: ValidationInfo) -> Path:
        if info.data.get("storage_backend") == "disk" and path == Path():
            raise ValueError("Field required where STORAGE_BACKEND is disk")
        return path

    @field_validator(
        "s3_endpoint_url", "s3_bucket", "s3_region", "s3_access_key_id", "s3_secret_access_key"
    )
    @classmethod
    def _is_given_for_s3(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("storage_backend") == "s3" and value in {"", SecretStr("")}:
            raise ValueError("Field required where STORAGE_BACKEND is s3")
        return value

    @field_validator("s3_endpoint_url", "s3_public_url")
    @classmethod
    def _is_the_origin_of_a_store(cls, url: str) -> str:
        """A path behind the host would be signed, and a proxy that takes it away breaks links."""
        parts = urlsplit(url.rstrip("/"))
        if url and not (parts.scheme in {"http", "https"} and parts.netloc and not parts.path):
            raise ValueError("it is http:// or https:// and a host, without a path")
        return url.rstrip("/")

    @field_validator("s3_bucket")
    @classmethod
    def _is_the_name_of_a_bucket(cls, name: str) -> str:
        """Amazon S3's "bucket naming rules"; dots are left out, because of certificates."""
        if name and not re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", name):
            raise ValueError("it has 3 to 63 of a-z, 0-9 and -")
        return name

    @field_validator("s3_secret_access_key")
    @classmethod
    def _key_is_strong(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if secret.get_secret_value() and in_production(info):
            refuse_weak(secret.get_secret_value())
        return secret
