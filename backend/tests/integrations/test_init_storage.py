"""scripts/init_storage.py: it makes the store, closes it to strangers, and says how it is."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from app.integrations.storage import disk
from app.settings import Settings
from tests.core.live import environment_of
from tests.integrations.stores import client, settings_for
from tests.paths import PROJECT


def run(settings: Settings, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "scripts/init_storage.py"), "--json", *options],
        env=environment_of(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "files"
    settings = settings_for("disk", folder, "")
    code, report = run(settings, "--check")
    assert (code, report["done"]) == (1, [])
    assert "not mounted" in report["fault"]
    assert not folder.exists(), "a check changes nothing"
    code, report = run(settings)
    assert (code, report["fault"]) == (0, None)
    assert str(folder) in report["done"][0]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run(settings) == (0, {"backend": "disk", "done": [], "fault": None})
    assert run(settings, "--check")[0] == 0
    assert [path.name for path in folder.iterdir()] == [disk.MARKER]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, report = run(settings_for("disk", tmp_path / "file" / "folder", ""))
    assert code == 1
    assert "cannot be used" in report["fault"]


def test_a_bucket(tmp_path: Path, server_urls: dict[str, str]) -> None:
    settings = settings_for("s3", tmp_path, server_urls["s3"])
    code, report = run(settings, "--check")
    assert (code, report["fault"]) == (1, f"There is no bucket {settings.s3_bucket}.")
    assert run(settings)[1]["done"] == [f"bucket {settings.s3_bucket} made"]
    assert run(settings) == (0, {"backend": "s3", "done": [], "fault": None})
    assert run(settings, "--check")[0] == 0


def open_to_everybody(settings: Settings) -> Any:
    """A policy such as people copy from a page."""
    store = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
        config=Config(proxies={}),
    )
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{settings.s3_bucket}/*"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    store.put_bucket_policy(Bucket=settings.s3_bucket, Policy=json.dumps(policy))
    store.put_object(Bucket=settings.s3_bucket, Key="tenants/plans", Body=b"plans")
    return store


def test_a_bucket_that_everybody_reads(tmp_path: Path, server_urls: dict[str, str]) -> None:
    settings = settings_for("s3", tmp_path, server_urls["s3"])
    run(settings)
    store = open_to_everybody(settings)
    url = f"{settings.s3_endpoint_url}/{settings.s3_bucket}/tenants/plans"
    with client() as stranger:
        assert stranger.get(url, timeout=10).content == b"plans"
        code, report = run(settings, "--check")
        assert code == 1
        assert "Strangers may read" in report["fault"]
        assert stranger.get(url, timeout=10).status_code == 200, "a check changes nothing"
        code, report = run(settings)
        assert (code, report["done"]) == (0, [f"bucket {settings.s3_bucket} closed to strangers"])
        assert stranger.get(url, timeout=10).status_code == 403
    left = store.list_objects_v2(Bucket=settings.s3_bucket)["Contents"]
    assert [one["Key"] for one in left] == ["tenants/plans"]
    store.close()


@pytest.mark.parametrize(
    "wrong", [{"s3_secret_access_key": "wrong"}, {"s3_endpoint_url": "http://127.0.0.1:9"}]
)
def test_a_store_that_refuses_us(
    tmp_path: Path, server_urls: dict[str, str], wrong: dict[str, Any]
) -> None:
    code, report = run(settings_for("s3", tmp_path, server_urls["s3"], **wrong))
    assert code == 1
    assert report["fault"].startswith("The file store ")


def test_boto3_is_for_those_who_use_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from app.factory import create_app;"
        "from app.settings import load_settings; create_app(load_settings());"
        "sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT / "backend",
        env=environment_of(settings_for("disk", tmp_path, "")),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
