"""Pages and reports that are generated from the code that they describe."""

import importlib
import pkgutil
from collections.abc import Iterator
from enum import Enum
from inspect import cleandoc
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.core.errors import AppError
from app.settings import Settings

_SETTINGS: Final = """\
# Settings

Environment variables of these names, read once, at the start. A process that finds one missing or
wrong does not start and names every fault; `ENVIRONMENT=production`, which is the default, refuses
more. `scripts/show_settings.py` tells what a process would get, and from where. URLs are libpq's:
`postgresql://role:password@host:port/database`, or
`postgresql://role:password@/database?host=/socket/folder`.

This page is generated from `backend/app/settings/` by `scripts/generate_docs.py`.

| variable | default | accepts | meaning |
|---|---|---|---|
"""
_ERRORS: Final = """\
# Errors

Every refusal is `application/problem+json` (RFC 9457). Programs read `code`, which keeps its
meaning; `detail` is a sentence for people about the case at hand, and may change. 503 always comes
with Retry-After. `request_id` finds the request in the log. Why there is no page behind `type`:
[decision 17](decisions/0017-type-stays-about-blank.md).

This page is generated from the errors' classes by `scripts/generate_docs.py`.

| code | status | means | do |
|---|---|---|---|
"""
_MASK: Final = "**********"


def settings_page() -> str:
    """docs/settings.md."""
    rows = [
        f"| `{name.upper()}` | {_default(field)} | {_accepts(field)} | {_meaning(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return _SETTINGS + "\n".join(rows) + "\n"


def errors_page() -> str:
    """docs/errors.md, of every error of the package."""
    for module in pkgutil.walk_packages(importlib.import_module("app").__path__, "app."):
        importlib.import_module(module.name)
    told = [cls for cls in _family(AppError) if "code" in vars(cls)]
    rows = [
        f"| `{cls.code}` | {cls.status} | {_paragraphs(cls)[0]} | {_advice(cls)} |"
        for cls in sorted(told, key=lambda cls: (cls.status, cls.code, cls.__module__))
    ]
    return _ERRORS + "\n".join(rows) + "\n"


def _family(cls: type[AppError]) -> Iterator[type[AppError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _family(child)


def _advice(cls: type[AppError]) -> str:
    """The second paragraph of its docstring, or of the nearest base's that has one."""
    return next(told[1] for base in cls.__mro__ if len(told := _paragraphs(base)) > 1)


def _paragraphs(cls: type) -> list[str]:
    text = cleandoc(vars(cls).get("__doc__") or "").replace("``", "`")
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def effective(settings: Settings) -> Iterator[dict[str, Any]]:
    """Each variable's value, secrets masked, and where it comes from."""
    for name, value in settings:
        yield {
            "name": name.upper(),
            "value": _shown(value),
            "source": settings.source_of(name),
        }


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None or value == ():
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _accepts(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) in {Union, UnionType}:
        kind = get_args(kind)[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(str(each.value) for each in kind)
    if kind is bool:
        return "true, false"
    limits = {type(each): each for each in field.metadata}
    words = [
        f"{word} {getattr(limits[limit], name)}"
        for limit, name, word in ((Ge, "ge", "from"), (Gt, "gt", "above"), (Le, "le", "to"))
        if limit in limits
    ]
    if kind is SecretStr and MinLen in limits:
        words = [f"{limits[MinLen].min_length} characters or more"]
    return " ".join(words)
