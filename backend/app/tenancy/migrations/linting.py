"""Refuses steps that are unsafe on a table in use: those that rewrite it, or lock it for long.

What locks, and for how long, is PostgreSQL's: its documentation of ALTER TABLE and CREATE INDEX. A
step that is right all the same says why, as ``unsafe_reason`` of its module.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from app.tenancy.migrations.rendering import Recipe, Step
from app.tenancy.migrations.tree import Revision, Tree
from app.tenancy.names import Installation


@dataclass(frozen=True, slots=True)
class Fault:
    """An unsafe statement, and the safe way."""

    revision: str
    statement: str
    advice: str


_ANY_CASE: Final = re.IGNORECASE
_NAME: Final = r'(?:"?\w+"?\.)?"?(\w+)"?'
_TABLE: Final = re.compile(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{_NAME}", _ANY_CASE)
_ALTERED: Final = re.compile(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME}", _ANY_CASE)
_INDEXED: Final = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?(IF NOT EXISTS )?", re.IGNORECASE
)
_INDEXED_TABLE: Final = re.compile(rf" ON (?:ONLY )?{_NAME}", _ANY_CASE)
_NOT_NULL_CHECK: Final = re.compile(
    rf"ADD CONSTRAINT {_NAME} CHECK \(+{_NAME} IS NOT NULL\)+ NOT VALID", re.IGNORECASE
)
_VALIDATED: Final = re.compile(rf"VALIDATE CONSTRAINT {_NAME}", _ANY_CASE)
_SET_NOT_NULL: Final = re.compile(rf"ALTER (?:COLUMN )?{_NAME} SET NOT NULL", _ANY_CASE)
_STABLE_DEFAULT: Final = re.compile(
    r"DEFAULT (?:'(?:[^']|'')*'(?:::[\w\[\]\" ]+)?|[-+.\w]+|\(?(?:now|current_\w+)(?:\(\))?\)?)"
    r"(?:,|;|\s|$)",
    re.IGNORECASE,
)


@dataclass
class _Story:
    """What earlier revisions and earlier statements of this one have made."""

    made_here: set[str] = field(default_factory=set)
    checks: dict[tuple[str, str], str] = field(default_factory=dict)
    not_valid_here: set[tuple[str, str]] = field(default_factory=set)
    validated: set[tuple[str, str]] = field(default_factory=set)


def find_faults(tree: Tree) -> list[Fault]:
    """Every unsafe statement of a revision that gives no reason, in the order of the tree."""
    story = _Story()
    faults = []
    for step in Recipe(tree, Installation("lint"), tree.head).steps_from(None):
        found = list(_faults_of(step, story))
        if not step.revision.unsafe_reason:
            faults += found
    return faults


def _faults_of(step: Step, story: _Story) -> Iterator[Fault]:
    story.made_here, story.not_valid_here = set(), set()
    for statement in step.statements or ():
        for plain in _parts(statement):
            for advice in _advice(plain, step.revision, story):
                yield Fault(step.revision.id, plain, advice)
            _remember(plain, story)


def _parts(statement: str) -> list[str]:
    """Several statements in one text are told apart where no quote can hide a semicolon."""
    plain = " ".join(re.sub(r"--[^\n]*", "", statement).split())
    parts = [plain] if set(plain) & {"'", "$", '"'} else plain.split(";")
    return [part.strip() for part in parts if part.strip()]


def _remember(text: str, story: _Story) -> None:
    if made := _TABLE.match(text):
        story.made_here.add(made[1])
    if altered := _ALTERED.match(text):
        table = altered[1]
        if check := _NOT_NULL_CHECK.search(text):
            story.checks[table, check[2]] = check[1]
        if re.search(r"NOT VALID", text, _ANY_CASE) and (
            name := re.search(rf"ADD CONSTRAINT {_NAME}", text, _ANY_CASE)
        ):
            story.not_valid_here.add((table, name[1]))
        if validated := _VALIDATED.search(text):
            story.validated.add((table, validated[1]))


def _advice(text: str, revision: Revision, story: _Story) -> Iterator[str]:
    if re.match(r"(ALTER|DROP) ", text, _ANY_CASE):
        yield from _on_breaking(text, revision)
    yield from _on_whole_statements(text, revision)
    if _INDEXED.match(text):
        yield from _on_indexes(text, revision, story)
    altered = _ALTERED.match(text)
    if altered and altered[1] not in story.made_here:
        for rule in _ON_TABLES:
            yield from rule(text, altered[1], story)


def _on_whole_statements(text: str, revision: Revision) -> Iterator[str]:
    if re.match(r"(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\b", text, _ANY_CASE):
        yield "The migrator begins and ends transactions; mark the module autocommit = True."
    if re.match(
        r"(VACUUM FULL|CLUSTER|REINDEX (?!.*CONCURRENTLY)|TRUNCATE|LOCK)\b", text, re.IGNORECASE
    ):
        yield "It locks the table against everybody for as long as it takes."
    concurrent = " CONCURRENTLY " in f"{text} ".upper()
    if concurrent and not revision.autocommit:
        yield "CONCURRENTLY runs in no transaction: autocommit = True, in a revision of its own."
    if (
        revision.autocommit
        and re.match(r"(CREATE|DROP) ", text, _ANY_CASE)
        and " EXISTS " not in text
    ):
        yield "An autocommit step may be repeated: IF NOT EXISTS, IF EXISTS."


def _on_breaking(text: str, revision: Revision) -> Iterator[str]:
    """Older code still runs while tenants are migrated, one by one."""
    if revision.breaks_older_code:
        return
    if re.search(r"\bDROP (COLUMN|TABLE|VIEW)\b", text, _ANY_CASE):
        yield (
            "Older code still reads it. Drop it in a release after the one whose code stopped,"
            " and mark the module breaks_older_code = True."
        )
    if re.search(r"\bRENAME\b", text, _ANY_CASE):
        yield "Older code knows the old name. Add the new one, write both, drop the old one later."


def _on_indexes(text: str, revision: Revision, story: _Story) -> Iterator[str]:
    table = _INDEXED_TABLE.search(text)
    if revision.autocommit or (table and table[1] in story.made_here):
        return
    if "CONCURRENTLY" not in text.upper():
        yield (
            "It keeps writers out while it is built: postgresql_concurrently=True and"
            " if_not_exists=True, in a revision with autocommit = True."
        )


def _on_types(text: str, _table: str, _story: _Story) -> Iterator[str]:
    if re.search(rf"ALTER (?:COLUMN )?{_NAME} (?:SET DATA )?TYPE\b", text, _ANY_CASE):
        yield "It may rewrite the table. Add a column of the new type, fill it, change over."


def _on_columns(text: str, _table: str, _story: _Story) -> Iterator[str]:
    if (
        not re.search(r"\bADD (COLUMN )?(?!CONSTRAINT)", text, _ANY_CASE)
        or "ADD CONSTRAINT" in text
    ):
        return
    has_default = re.search(r"\bDEFAULT\b", text, _ANY_CASE)
    if re.search(r"\bNOT NULL\b", text, _ANY_CASE) and not has_default:
        yield "It fails where there are rows. Give it a default, or let it be NULL at first."
    if has_default and not _STABLE_DEFAULT.search(text):
        yield "A volatile default rewrites the table. Add it without, set it after, fill in parts."
    if re.search(r"\b(SMALL|BIG)?SERIAL\b|GENERATED .*(STORED|IDENTITY)", text, _ANY_CASE):
        yield "It rewrites the table. Add a plain column and fill it in parts."


def _on_not_null(text: str, table: str, story: _Story) -> Iterator[str]:
    for column in _SET_NOT_NULL.findall(text):
        check = story.checks.get((table, column))
        if check is None or (table, check) not in story.validated:
            yield (
                "It reads the whole table under a lock. First CHECK (… IS NOT NULL) NOT VALID, in"
                " the next revision VALIDATE CONSTRAINT, then this reads nothing."
            )


def _on_constraints(text: str, table: str, story: _Story) -> Iterator[str]:
    if re.search(
        r"\bADD (CONSTRAINT \S+ )?(FOREIGN KEY|CHECK)\b", text, re.IGNORECASE
    ) and not re.search(r"\bNOT VALID\b", text, _ANY_CASE):
        yield "It reads the whole table under a lock. NOT VALID now, VALIDATE in the next revision."
    if re.search(r"\bADD COLUMN\b.*\bREFERENCES\b", text, _ANY_CASE):
        yield "Add the column, then the foreign key NOT VALID, and VALIDATE in the next revision."
    if re.search(
        r"\bADD (CONSTRAINT \S+ )?(UNIQUE|PRIMARY KEY|EXCLUDE)\b", text, re.IGNORECASE
    ) and not re.search(r"\bUSING INDEX\b", text, _ANY_CASE):
        yield "It keeps everybody out. Build the index concurrently, then ADD … USING INDEX."
    validated = _VALIDATED.search(text)
    if validated and (table, validated[1]) in story.not_valid_here:
        yield "In one transaction with NOT VALID it keeps that lock. VALIDATE in the next revision."


_ON_TABLES: Final[tuple[Callable[[str, str, _Story], Iterator[str]], ...]] = (
    _on_types,
    _on_columns,
    _on_not_null,
    _on_constraints,
)
