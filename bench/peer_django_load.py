"""The third peer under load: Django with django-tenants, a schema per tenant in one database.

A WSGI application in a folder of its own (PEER_FOLDER), where `prepare` writes its models. The same
work as of the second peer: token, member, ORM rows, and beside each change an entry and an event.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import django
from django.conf import settings

_FOLDER = Path(os.environ["PEER_FOLDER"])
_MODELS = """
from django.contrib.postgres.fields import ArrayField
from django.db import models


class File(models.Model):
    id = models.UUIDField(primary_key=True)
    digest = models.TextField()


class Document(models.Model):
    id = models.UUIDField(primary_key=True)
    file = models.ForeignKey(File, on_delete=models.PROTECT)
    name = models.TextField()
    content_type = models.TextField()
    size = models.BigIntegerField()
    owner_id = models.UUIDField()
    tags = ArrayField(models.TextField())
    version = models.IntegerField(default=1)
    revision = models.IntegerField(default=1)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["created_at", "id"])]


class Entry(models.Model):
    kind = models.TextField()
    details = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)
"""
_CUSTOMERS = """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    name = models.TextField()
    auto_create_schema = True


class Domain(DomainMixin):
    pass


class Member(models.Model):
    user_id = models.UUIDField()
    client = models.ForeignKey(Client, on_delete=models.CASCADE)
    role = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user_id", "client"], name="one")]
"""
_FILL = """
    INSERT INTO plane_file (id, digest)
    SELECT md5('file' || n)::uuid, 'sha256:' || lpad(to_hex(n), 64, '0')
    FROM generate_series(1, {count}) AS n;
    INSERT INTO plane_document (id, file_id, name, content_type, size, owner_id, tags, version,
                                revision, created_at, updated_at)
    SELECT md5('document' || n)::uuid, md5('file' || n)::uuid, 'Report ' || n || '.pdf',
           'application/pdf', 1000 + n, '{owner}', ARRAY['plan'], 1, 1,
           timestamptz '2026-01-01' + n * interval '1 second',
           timestamptz '2026-01-01' + n * interval '1 second'
    FROM generate_series(1, {count}) AS n;
"""


def _configure() -> None:
    sys.path.insert(0, str(_FOLDER))
    parts = urlsplit(os.environ["PEER_URL"])
    apps = ["django_tenants", "django.contrib.contenttypes", "customers"]
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={
            "default": {
                "ENGINE": "django_tenants.postgresql_backend",
                "NAME": parts.path.lstrip("/"),
                "USER": unquote(parts.username or ""),
                "PASSWORD": unquote(parts.password or ""),
                "HOST": parts.hostname or parse_qs(parts.query)["host"][0],
                "PORT": str(parts.port or ""),
                "CONN_MAX_AGE": None,
            }
        },
        DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
        APPEND_SLASH=False,
        MIDDLEWARE=[
            "django_tenants.middleware.main.TenantMainMiddleware",
            "django.middleware.common.CommonMiddleware",  # tells the length of answers
        ],
        SHARED_APPS=apps,
        TENANT_APPS=["plane"],
        INSTALLED_APPS=[*apps, "plane"],
        TENANT_MODEL="customers.Client",
        TENANT_DOMAIN_MODEL="customers.Domain",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        PUBLIC_SCHEMA_URLCONF="peer_django_load",
        ROOT_URLCONF="peer_django_load",
        SECRET_KEY=os.environ["PEER_SECRET"],
        USE_TZ=True,
    )


def prepare(people: list[str], documents: int) -> None:
    """A tenant for each person's id: `t0.peer` and so on."""
    for name, models in (("plane", _MODELS), ("customers", _CUSTOMERS)):
        (_FOLDER / name / "migrations").mkdir(parents=True)
        (_FOLDER / name / "__init__.py").touch()
        (_FOLDER / name / "migrations" / "__init__.py").touch()
        (_FOLDER / name / "models.py").write_text(models)
    django.setup()
    from customers.models import Client, Domain, Member  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django_tenants.utils import schema_context  # noqa: PLC0415

    call_command("makemigrations", "plane", "customers", verbosity=0)
    call_command("migrate_schemas", shared=True, verbosity=0)
    public = Client.objects.create(schema_name="public", name="Public")
    Domain.objects.create(domain="127.0.0.1", tenant=public, is_primary=True)
    for number, person in enumerate(people):
        client = Client(schema_name=f"t{number}", name=f"Tenant {number}")
        client.save(verbosity=0)
        Domain.objects.create(domain=f"t{number}.peer", tenant=client, is_primary=True)
        Member.objects.create(user_id=person, client=client, role="owner")
        with schema_context(client.schema_name), connection.cursor() as cursor:
            cursor.execute(_FILL.format(count=documents, owner=person))
            cursor.execute("ANALYZE plane_document")


# The application.


def _who(request: Any) -> str:
    import jwt  # noqa: PLC0415
    from customers.models import Member  # noqa: PLC0415
    from django.http import Http404  # noqa: PLC0415

    token = request.headers["Authorization"].removeprefix("Bearer ")
    user = jwt.decode(token, settings.SECRET_KEY, algorithms=["HS256"])["sub"]
    if not Member.objects.filter(user_id=user, client=request.tenant).exists():
        raise Http404
    return str(user)


def _dumped(document: Any) -> dict[str, Any]:
    names = ("id", "name", "content_type", "size", "owner_id", "tags", "version", "revision")
    values = {name: getattr(document, name) for name in (*names, "created_at", "updated_at")}
    return values | {"digest": document.file.digest}


def _health(_request: Any) -> Any:
    from django.http import JsonResponse  # noqa: PLC0415

    return JsonResponse({"status": "ok"})


def _list(request: Any) -> Any:
    from django.http import JsonResponse  # noqa: PLC0415
    from plane.models import Document  # noqa: PLC0415

    _who(request)
    found = Document.objects.select_related("file").order_by("-created_at", "-id")[:51]
    return JsonResponse({"items": [_dumped(each) for each in list(found)[:50]]})


def _rename(request: Any, document_id: str) -> Any:
    from django.db import transaction  # noqa: PLC0415
    from django.http import JsonResponse  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415
    from plane.models import Document, Entry  # noqa: PLC0415

    _who(request)
    name = json.loads(request.body)["name"]
    with transaction.atomic():
        document = Document.objects.select_for_update(of=("self",)).get(id=document_id)
        document.name, document.updated_at = name, timezone.now()
        document.revision += 1
        document.save(update_fields=["name", "updated_at", "revision"])
        for kind in ("audit", "event"):
            Entry.objects.create(kind=kind, details={"name": name})
        return JsonResponse(_dumped(document))


_configure()
if __name__ == "__main__":
    prepare(**json.load(sys.stdin))
else:
    django.setup()
    from django.core.wsgi import get_wsgi_application
    from django.urls import path

    urlpatterns = [
        path("health", _health),
        path("documents", _list),
        path("documents/<document_id>", _rename),
    ]
    application = get_wsgi_application()
