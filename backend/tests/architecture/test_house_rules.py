"""The rules of the house that imports cannot show."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, DateTime, Table, Text
from sqlalchemy.orm import Mapper

from app.core import ids
from app.core.db import MIGRATIONS, MainModel
from app.core.tasks import DEFINITIONS, QUEUES
from app.factory import CONSUMERS, MODELS, SEALED_COLUMNS, TASKS
from app.settings import Settings
from app.settings.vault import ENTRIES
from app.tenancy.models import TenantModel
from embedded.application import Application
from tests.paths import APP, BACKEND, PROJECT

LONGEST_FILE = 400
LONGEST_FUNCTION = 60


def _sources(folder: Path = APP) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(PROJECT).as_posix(), path.read_text(encoding="utf-8")


def _matches(pattern: str, *, allowed: tuple[str, ...]) -> list[str]:
    found = []
    for name, text in _sources():
        inside = name.removeprefix("backend/app/")
        if not inside.startswith(allowed):
            found += [
                f"{name}:{number}"
                for number, line in enumerate(text.splitlines(), start=1)
                if re.search(pattern, line)
            ]
    return found


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        # Of Kafka it is an offset that is committed.
        (
            r"\.commit\(|\.rollback\(|\bdb\.session\b",
            ("core/", "tenancy/", "integrations/kafka.py"),
        ),
        (r"\bos\.environ\b|\bgetenv\(", ("settings/",)),
        # Names and types of another time: use core.clock and core.ids.
        (r"datetime\.now\(|datetime\.utcnow\(|time\.time\(", ("core/clock.py", "core/logs.py")),
        (r"\buuid4\(|\buuid1\(", ("core/ids.py", "core/problems.py")),
        # A committed SET outlives the return of a connection to its pool.
        (r"""["']SET (?!LOCAL)""", ("tenancy/server.py",)),
        (r"psycopg\.connect\(", ("tenancy/", "core/db.py")),
        (r"\bprint\(", ()),
        # Tokens travel in headers, so that no page of another site can send them.
        # That of single sign-on holds none.
        (r"\bset_cookie\(", ("domains/sso/routes/login.py",)),
    ],
)
def test_only_there(pattern: str, allowed: tuple[str, ...]) -> None:
    assert not _matches(pattern, allowed=allowed or ("-",))


def test_the_patterns_would_be_found() -> None:
    """The control: each folder that is let off holds what the others may not."""
    assert _matches(r"\bdb\.engine\b", allowed=("-",))
    assert _matches(r"psycopg\.connect\(", allowed=("-",))


def test_files_and_functions_stay_short() -> None:
    long = []
    for folder in (APP, BACKEND / "embedded"):
        for name, text in _sources(folder):
            if text.count("\n") > LONGEST_FILE:
                long.append(name)
            long += [
                f"{name}:{node.lineno} {node.name}"
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef)
                and (node.end_lineno or 0) - node.lineno > LONGEST_FUNCTION
            ]
    assert not long


def test_no_import_inside_a_function() -> None:
    inside = [
        f"{name}:{inner.lineno}"
        for name, text in _sources()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert not inside


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, text in _sources() if ast.get_docstring(ast.parse(text)) is None]
    assert not silent


def test_every_module_that_declares_models_tasks_or_consumers_is_wired() -> None:
    wired = {module.__name__ for module in (*MODELS, *TASKS, *CONSUMERS)}
    declaring = {
        "app." + path.relative_to(APP).with_suffix("").as_posix().replace("/", ".")
        for path in APP.glob("domains/*/*.py")
        if path.name in {"models.py", "tasks.py", "consumers.py"}
    }
    assert declaring == wired


def test_every_task_has_a_written_name_of_its_domain() -> None:
    assert DEFINITIONS
    for definition in DEFINITIONS.values():
        domain = definition.run.__module__.split(".")[2]
        assert definition.name.startswith(f"{domain}."), definition.name


def test_every_queue_of_a_task_is_consumed_by_the_worker(tmp_path: Path) -> None:
    here = Application(backend=BACKEND, logs=tmp_path, environment={}, port=0)
    program = here.worker(QUEUES).program
    consumed = program[program.index("-Q") + 1].split(",")
    assert {definition.queue for definition in DEFINITIONS.values()} <= set(consumed)
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"celery -A celery_worker:celery worker -Q {','.join(QUEUES)}" in page


def test_every_job_that_is_sent_exists() -> None:
    sent = {
        match[1]
        for _, text in _sources()
        for match in re.finditer(
            r"(?:enqueue_after_commit|schedule|schedule_once)\(\s*\w+,\s*\"([^\"]+)\"", text
        )
    }
    assert sent
    assert sent <= DEFINITIONS.keys()


def _tables(base: type) -> Iterator[tuple[Mapper[object], Table]]:
    for mapper in base.registry.mappers:  # type: ignore[attr-defined]
        yield mapper, mapper.local_table


# What is written once and never changed has neither state nor a second time.
# The quota is one row of sums.
RECORDS = {
    "activities",
    "audit_entries",
    "canaries",
    "consumer_lags",
    "document_versions",
    "file_texts",
    "inbox",
    "migration_results",
    "outbox",
    "platform_audit_entries",
    "platform_inbox",
    "platform_outbox",
    "quota",
    "schema_releases",
    "sent_mails",
    "sso_attempts",
    "sso_refresh_totals",
    "webhook_attempts",
    "webhook_messages",
}
# Named by what they are, or by what they belong to; docs/decisions/0012.
WITHOUT_ID = {
    "refresh_tokens": {"token_hash"},
    "account_tokens": {"token_hash"},
    "signing_keys": {"kid"},
    "user_tenant_associations": {"user_id", "tenant_id"},
    "tenant_databases": {"tenant_id"},
    "sandboxes": {"tenant_id"},
    "migration_results": {"run_id", "tenant_id"},
    "schema_releases": {"revision"},
    "document_versions": {"document_id", "number"},
    "notification_preferences": {"user_id", "kind"},
    "file_texts": {"file_id"},
    "inbox": {"consumer", "event_id"},
    "platform_inbox": {"consumer", "event_id"},
    "consumer_lags": {"topic", "partition"},
    "canaries": {"queue"},
    "sso_refresh_totals": {"outcome"},
}


@pytest.mark.parametrize("base", [MainModel, TenantModel])
def test_every_entity_is_active_or_not_and_says_since_when(base: type) -> None:
    for mapper, table in _tables(base):
        if table.name in RECORDS:
            continue
        assert {"active", "created_at", "updated_at"} <= {each.key for each in mapper.attrs}, table
        assert isinstance(table.c.active.type, Boolean), table
        if {"state", "verified_at", "revoked_at", "used_at"} & set(table.c.keys()):
            assert table.c.active.computed is not None, f"{table}: nothing is said twice"


@pytest.mark.parametrize("base", [MainModel, TenantModel])
def test_times_are_in_utc_and_ids_sort_by_time(base: type) -> None:
    for _, table in _tables(base):
        for column in table.columns:
            if isinstance(column.type, DateTime):
                assert column.type.timezone, column
        key = set(table.primary_key.columns.keys())
        assert key == WITHOUT_ID.get(table.name, {"id"}), table
        if key == {"id"} and table.name not in RECORDS:
            default: Any = table.c.id.default
            assert default.arg.__name__ == ids.new_id.__name__, table


def test_planes_share_no_table_and_no_key() -> None:
    assert not set(TenantModel.metadata.tables) & set(MainModel.metadata.tables)
    for base in (TenantModel, MainModel):
        for _, table in _tables(base):
            assert table.metadata is base.metadata
            for key in table.foreign_keys:
                assert key.column.table.metadata is base.metadata


@pytest.mark.parametrize("tree", ["main", "tenant"])
def test_each_migration_tree_has_one_head(tree: str) -> None:
    assert len(ScriptDirectory(str(MIGRATIONS / tree)).get_heads()) == 1


def test_every_secret_has_a_place_in_vault() -> None:
    stored = {name for names in ENTRIES.values() for name in names}
    secret = {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in str(field.annotation) and name != "vault_secret_id"
    }
    assert secret <= stored <= Settings.model_fields.keys()


def test_every_sealed_column_can_be_sealed_anew() -> None:
    """What follows a change of the key would leave out one that is not in its module's SEALED."""
    sealed = {
        f"{table.name}.{column.name}"
        for base in (MainModel, TenantModel)
        for _, table in _tables(base)
        for column in table.columns
        if column.name.startswith("sealed_") and isinstance(column.type, Text)
    }
    assert {column.name for column in SEALED_COLUMNS} == sealed
