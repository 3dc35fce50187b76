"""The bucket itself: made, made private, and tried by a stranger."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from app.core import ids
from app.integrations.storage.contract import StorageUnavailable
from app.integrations.storage.vendor import code_of, connect, our_errors, status_of
from app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Where a bucket lies that names no region.
_DEFAULT_REGION: Final = "us-east-1"
_REFUSED: Final = (401, 403)
# Not every store has each way to open a bucket, and so to close it.
_NOT_THERE: Final = frozenset({"MethodNotAllowed", "NotImplemented", "NoSuchBucketPolicy"}) | {
    "AccessControlListNotSupported"
}


def prepare(settings: Settings, *, check: bool) -> list[str]:
    """Makes the bucket and makes it private, or only checks both; returns what it did.

    A probe object is put and deleted again, in both cases.

    Raises:
        StorageUnavailable: the store does not answer, or refuses us; or strangers may do something.
    """
    name, store = settings.s3_bucket, connect(settings, settings.s3_endpoint_url)
    stranger = connect(settings, settings.s3_endpoint_url, anonymous=True)
    done = []
    with our_errors():
        if not _exists(store, name):
            if check:
                raise StorageUnavailable(f"There is no bucket {name}.")
            _create(store, name, settings.s3_region)
            done.append(f"bucket {name} made")
        if not check:
            _block_public_access(store, name)
        allowed = _what_strangers_may(store, stranger, name)
        if allowed and not check:
            _withdraw(store, name)
            allowed = _what_strangers_may(store, stranger, name)
            done.append(f"bucket {name} closed to strangers")
    if allowed:
        raise StorageUnavailable(f"Strangers may {', '.join(allowed)} in bucket {name}.")
    return done


def _exists(store: "S3Client", name: str) -> bool:
    try:
        store.head_bucket(Bucket=name)
    except ClientError as error:
        if code_of(error) in {"404", "NoSuchBucket"}:
            return False
        raise
    return True


def _create(store: "S3Client", name: str, region: str) -> None:
    if region == _DEFAULT_REGION:
        store.create_bucket(Bucket=name)
    else:
        store.create_bucket(
            Bucket=name,
            CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
        )


def _block_public_access(store: "S3Client", name: str) -> None:
    every = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"),
        True,
    )
    _where_there_is(
        lambda: store.put_public_access_block(
            Bucket=name,
            PublicAccessBlockConfiguration=every,  # type: ignore[arg-type]
        )
    )


def _withdraw(store: "S3Client", name: str) -> None:
    _where_there_is(lambda: store.delete_bucket_policy(Bucket=name))
    _where_there_is(lambda: store.put_bucket_acl(Bucket=name, ACL="private"))


def _where_there_is(act: Callable[[], object]) -> None:
    try:
        act()
    except ClientError as error:
        if code_of(error) not in _NOT_THERE:
            raise


def _what_strangers_may(store: "S3Client", stranger: "S3Client", name: str) -> list[str]:
    key = f"probe/{ids.new_id().hex}"
    attempts: dict[str, Callable[[], object]] = {
        "list": lambda: stranger.list_objects_v2(Bucket=name, MaxKeys=1),
        "read": lambda: stranger.head_object(Bucket=name, Key=key),
        "write": lambda: stranger.put_object(Bucket=name, Key=key, Body=b"written by a stranger"),
        "delete": lambda: stranger.delete_object(Bucket=name, Key=key),
    }
    store.put_object(Bucket=name, Key=key, Body=b"private")
    try:
        return [verb for verb, attempt in attempts.items() if not _is_refused(attempt)]
    finally:
        store.delete_object(Bucket=name, Key=key)


def _is_refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except ClientError as error:
        if status_of(error) in _REFUSED:
            return True
        raise
    return False
