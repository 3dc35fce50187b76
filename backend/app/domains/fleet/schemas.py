"""What the fleet takes and gives over HTTP."""

from typing import Final

from marshmallow import Schema, fields, validate

from app.core.pages import PageQuery
from app.domains.fleet.models import ResultStatus, RunStatus

_MOST_TENANTS = 1000
_WORD = validate.Length(min=1, max=200)


class NewMigration(Schema):
    """Bring tenants to the newest revision: all, or those of the ids, in waves.

    ``waves`` is such as ``canary,5%,rest``; a canary is an id, a slug, ``tag:WORD``, ``smallest:N``
    or ``largest:N``. It stops when more than ``max_failures`` tenants have failed.
    """

    tenant_ids = fields.List(
        fields.UUID(), load_default=list, validate=validate.Length(max=_MOST_TENANTS)
    )
    waves = fields.String(load_default="rest", validate=_WORD)
    canaries = fields.List(
        fields.String(validate=_WORD), load_default=list, validate=validate.Length(max=100)
    )
    jobs = fields.Integer(
        load_default=None, allow_none=True, strict=True, validate=validate.Range(min=1, max=100)
    )
    max_failures = fields.Integer(
        load_default=10, strict=True, validate=validate.Range(min=0, max=1_000_000)
    )


class PlannedWave(Schema):
    """``first`` shows who begins."""

    EXAMPLE: Final = {"name": "canary"}

    name = fields.String(required=True)
    tenants = fields.Integer(required=True)
    first = fields.List(fields.UUID(), required=True)


class MigrationPlan(Schema):
    """Nothing was changed. ``sql`` has the statements for each revision that tenants are at."""

    EXAMPLE: Final = {
        "target": "0008",
        "at_target": 40,
        "sql": {"0007": ["ALTER TABLE documents ADD COLUMN …"]},
    }

    target = fields.String(required=True)
    at_target = fields.Integer(required=True)
    waves = fields.List(fields.Nested(PlannedWave), required=True)
    sql = fields.Dict(keys=fields.String(), values=fields.List(fields.String()), required=True)


class RunQuery(PageQuery):
    status = fields.String(
        load_default=None, validate=validate.OneOf([each.value for each in RunStatus])
    )


class Run(Schema):
    """One migration of the fleet; ``counts`` are of its tenants, by status.

    A run that is ``requested`` waits for its job, and has no tenants before that has planned it.
    """

    EXAMPLE: Final = {
        "target": "0008",
        "status": "running",
        "plan": {"waves": ["canary", "rest"]},
        "counts": {"pending": 12, "succeeded": 28},
    }

    id = fields.UUID(required=True)
    target = fields.String(required=True)
    status = fields.String(required=True)
    plan = fields.Dict(required=True)
    started_at = fields.AwareDateTime(required=True)
    finished_at = fields.AwareDateTime(required=True, allow_none=True)
    failure = fields.String(required=True, allow_none=True)
    counts = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)


class RunPage(Schema):
    items = fields.List(fields.Nested(Run), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class ResultQuery(PageQuery):
    status = fields.String(
        load_default=None, validate=validate.OneOf([each.value for each in ResultStatus])
    )


class Result(Schema):
    """What became of one tenant in a run; a failed one is where ``target`` says."""

    EXAMPLE: Final = {"status": "succeeded", "source": "0007", "target": "0008", "seconds": 0.4}

    tenant_id = fields.UUID(required=True)
    wave = fields.Integer(required=True)
    status = fields.String(required=True)
    source = fields.String(required=True, allow_none=True)
    target = fields.String(required=True, allow_none=True)
    attempts = fields.Integer(required=True)
    seconds = fields.Float(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)


class ResultPage(Schema):
    items = fields.List(fields.Nested(Result), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class Fleet(Schema):
    """How many tenants are at which revision; ``run`` is the one under way."""

    EXAMPLE: Final = {
        "head": "0008",
        "supported": ["0007", "0008"],
        "tenants": 40,
        "behind": 12,
        "revisions": {"0007": 12, "0008": 28},
    }

    head = fields.String(required=True)
    supported = fields.List(fields.String(), required=True)
    tenants = fields.Integer(required=True)
    behind = fields.Integer(required=True)
    revisions = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    run = fields.Nested(Run, required=True, allow_none=True)
