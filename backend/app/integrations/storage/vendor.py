"""boto3's clients and errors, turned into ours."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from boto3.session import Session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from app.core import tracing
from app.core.errors import AppError
from app.integrations.storage import pace
from app.integrations.storage.contract import (
    ObjectChanged,
    ObjectMissing,
    StorageFull,
    StorageUnavailable,
)
from app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

pace.keep()

_CONNECT_SECONDS: Final = 3
_CONNECTIONS: Final = 32
_ATTEMPTS: Final = 2
_FULL: Final = frozenset(
    {"InsufficientCapacity", "InsufficientStorage", "NoSpaceLeftOnDevice", "QuotaExceeded"}
    | {"StorageFull", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
)


def connect(
    settings: Settings, url: str, *, read_seconds: float = 0, anonymous: bool = False
) -> "S3Client":
    """A client that takes nothing from the environment or the machine; it makes no call yet."""
    client = Session().client(
        "s3",
        endpoint_url=url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        config=Config(
            signature_version=UNSIGNED if anonymous else "s3v4",
            s3={"addressing_style": "path"},
            # What boto3 adds by itself since 1.36 is refused by other stores than Amazon's.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds or settings.s3_timeout,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            proxies={},
        ),
    )
    tracing.watch_store(client)
    return client


@contextmanager
def our_errors() -> Iterator[None]:
    """Raises ours in place of the vendor's."""
    try:
        yield
    except ClientError as error:
        raise translated(error) from error
    except (BotoCoreError, ResponseParserError) as error:
        logger.warning("file store does not answer", extra={"reason": type(error).__name__})
        raise StorageUnavailable("The file store does not answer.") from error


def translated(error: ClientError) -> AppError:
    code, status = code_of(error), status_of(error)
    if code in {"NoSuchKey", "NoSuchUpload", "404"}:
        return ObjectMissing("The stored file is gone.")
    if code in {"PreconditionFailed", "412"}:
        return ObjectChanged("The stored file was changed just now; try again.")
    if code in _FULL or status == StorageFull.status:
        return StorageFull("There is no room for this file.")
    logger.warning("file store refuses", extra={"store_code": code, "store_status": status})
    return StorageUnavailable("The file store cannot do this just now.")


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
