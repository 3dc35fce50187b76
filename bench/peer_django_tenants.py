"""The peer of bench/fleet.py: a Django project with django-tenants, driven over standard input.

Runs in a venv of its own, with the project's folder as its first argument and the database's libpq
URI as its second. Reads one JSON document per line, and answers each with the seconds it took.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_MODELS = """
from django.db import models


class File(models.Model):
    id = models.UUIDField(primary_key=True)
    key = models.TextField(unique=True)
    state = models.TextField()
    digest = models.TextField(null=True)
    md5 = models.TextField(null=True)
    size = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="files_state",
                condition=models.Q(state__in=["pending", "available", "deleting"]),
            ),
            models.UniqueConstraint(
                name="files_digest", fields=["digest"], condition=models.Q(state="available")
            ),
        ]


class Document(models.Model):
    id = models.UUIDField(primary_key=True)
    file = models.ForeignKey(File, on_delete=models.PROTECT)
    name = models.TextField()
    content_type = models.TextField()
    owner_id = models.UUIDField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()


class AuditEntry(models.Model):
    id = models.UUIDField(primary_key=True)
    recorded_at = models.DateTimeField()
    type = models.TextField()
    target = models.TextField()
    user_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    address = models.TextField(null=True)
    request_id = models.TextField(null=True)
    task = models.TextField(null=True)
    details = models.JSONField()
"""
_CUSTOMERS = """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    name = models.TextField()
    auto_create_schema = True


class Domain(DomainMixin):
    pass
"""
_COLUMN = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("plane", "{before}")]
    operations = [
        migrations.AddField("document", "{name}", models.TextField(null=True)),
    ]
"""


def main() -> None:
    folder, url = Path(sys.argv[1]), sys.argv[2]
    _write_project(folder)
    _set_up(folder, url)
    commands = _Commands(folder)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        work = getattr(commands, order.pop("do"))
        start = time.perf_counter()
        work(**order)
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def _write_project(folder: Path) -> None:
    for name, models in (("plane", _MODELS), ("customers", _CUSTOMERS)):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name / "migrations").mkdir(parents=True)
        (folder / name / "__init__.py").touch()
        (folder / name / "migrations" / "__init__.py").touch()
        (folder / name / "models.py").write_text(models)
    (folder / "urls.py").write_text("urlpatterns = []\n")


def _set_up(folder: Path, url: str) -> None:
    import django  # noqa: PLC0415  # the venv's, once the settings are known
    from django.conf import settings  # noqa: PLC0415

    sys.path.insert(0, str(folder))
    parts = urlsplit(url)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django_tenants.postgresql_backend",
                "NAME": parts.path.lstrip("/"),
                "USER": unquote(parts.username or ""),
                "PASSWORD": unquote(parts.password or ""),
                "HOST": parts.hostname or parse_qs(parts.query)["host"][0],
                "PORT": str(parts.port or ""),
            }
        },
        DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
        SHARED_APPS=["django_tenants", "django.contrib.contenttypes", "customers"],
        TENANT_APPS=["plane"],
        INSTALLED_APPS=["django_tenants", "django.contrib.contenttypes", "customers", "plane"],
        TENANT_MODEL="customers.Client",
        TENANT_DOMAIN_MODEL="customers.Domain",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        ROOT_URLCONF="urls",
        SECRET_KEY="bench",
        USE_TZ=True,
        TENANT_MULTIPROCESSING_MAX_PROCESSES=4,
    )
    django.setup()
    _call("makemigrations", "plane", "customers")
    _call("migrate_schemas", shared=True)


def _call(name: str, *arguments: str, **options: Any) -> None:
    from django.core.management import call_command  # noqa: PLC0415

    call_command(name, *arguments, verbosity=0, **options)


class _Commands:
    """What can be asked for, by the name of the method."""

    def __init__(self, folder: Path) -> None:
        self._versions = folder / "plane" / "migrations"

    def create(self, first: int, count: int) -> None:
        from customers.models import Client  # noqa: PLC0415  # type: ignore[import-not-found]

        for number in range(first, first + count):
            Client(schema_name=f"t{number}", name=f"Tenant {number}").save(verbosity=0)

    def release(self, name: str) -> None:
        """Puts a migration there that adds a column; applies nothing yet."""
        before = max(path.stem for path in self._versions.glob("0*.py"))
        path = self._versions / f"{int(before[:4]) + 1:04}_{name}.py"
        path.write_text(_COLUMN.format(before=before, name=name))

    def migrate(self, executor: str) -> None:
        _call("migrate_schemas", executor=executor)


if __name__ == "__main__":
    main()
