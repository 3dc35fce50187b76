"""The lint of tenants' migrations: each unsafe step is refused, its safe form is not."""

from pathlib import Path

import pytest

from app.tenancy.migrations import tree
from app.tenancy.migrations.linting import find_faults
from tests.domains.fleet.trees import Migration, after, grow


def run(*statements: str, attributes: str = "") -> Migration:
    return Migration("\n".join(f"op.execute({each!r})" for each in statements), "pass", attributes)


CONCURRENTLY = "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix ON documents (name)"
CHECK = "ALTER TABLE documents ADD CONSTRAINT ck CHECK (name IS NOT NULL) NOT VALID"
VALIDATE = "ALTER TABLE documents VALIDATE CONSTRAINT ck"
KEY = "ALTER TABLE documents ADD CONSTRAINT fk FOREIGN KEY (file_id) REFERENCES files (id)"

UNSAFE = {
    "ALTER TABLE documents ALTER COLUMN name TYPE varchar(10)": "rewrite the table",
    "ALTER TABLE documents ALTER name SET DATA TYPE int": "rewrite the table",
    "ALTER TABLE documents ADD COLUMN a text NOT NULL": "fails where there are rows",
    "ALTER TABLE documents ADD a uuid DEFAULT gen_random_uuid()": "volatile default",
    "ALTER TABLE documents ADD COLUMN a timestamptz DEFAULT clock_timestamp()": "volatile default",
    "ALTER TABLE documents ADD COLUMN a bigserial": "rewrites the table",
    "ALTER TABLE documents ADD COLUMN a int GENERATED ALWAYS AS (1) STORED": "rewrites the table",
    "ALTER TABLE documents ALTER COLUMN name SET NOT NULL": "reads the whole table",
    "CREATE INDEX ix ON documents (name)": "keeps writers out",
    "CREATE UNIQUE INDEX ix ON public.documents (name)": "keeps writers out",
    CONCURRENTLY: "runs in no transaction",
    KEY: "reads the whole table",
    "ALTER TABLE documents ADD CHECK (name <> '')": "reads the whole table",
    "ALTER TABLE documents ADD COLUMN a uuid REFERENCES files (id)": "Add the column, then",
    "ALTER TABLE documents ADD CONSTRAINT u UNIQUE (name)": "keeps everybody out",
    "ALTER TABLE documents DROP COLUMN name": "breaks_older_code",
    "DROP TABLE documents": "breaks_older_code",
    "ALTER TABLE documents RENAME COLUMN name TO title": "knows the old name",
    "VACUUM FULL documents": "locks the table",
    "TRUNCATE documents": "locks the table",
    "COMMIT": "begins and ends transactions",
}

SAFE = [
    [run("ALTER TABLE documents ADD COLUMN a text")],
    [run("ALTER TABLE documents ADD COLUMN a text NOT NULL DEFAULT 'x, y'")],
    [run("ALTER TABLE documents ADD COLUMN a timestamptz NOT NULL DEFAULT now()")],
    [run("ALTER TABLE documents ADD COLUMN a int DEFAULT 7")],
    [run("ALTER TABLE documents ADD COLUMN a uuid; ALTER TABLE documents ALTER a SET DEFAULT 'x'")],
    [run(CONCURRENTLY, attributes="autocommit = True")],
    [run(f"{KEY} NOT VALID"), run("ALTER TABLE documents VALIDATE CONSTRAINT fk")],
    [run(CHECK), run(VALIDATE), run("ALTER TABLE documents ALTER COLUMN name SET NOT NULL")],
    [run("ALTER TABLE documents DROP COLUMN name", attributes="breaks_older_code = True")],
    [run("CREATE TABLE new (id int PRIMARY KEY)", "CREATE INDEX ix ON new (id)")],
    [run("DROP INDEX CONCURRENTLY IF EXISTS ix", attributes="autocommit = True")],
    [run("UPDATE documents SET name = 'DROP TABLE x'")],
    [
        run(
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS u ON documents (name)",
            attributes="autocommit = True",
        ),
        run("ALTER TABLE documents ADD CONSTRAINT u UNIQUE USING INDEX u"),
    ],
]


def test_the_product_has_no_unsafe_step() -> None:
    assert find_faults(tree.current()) == []


@pytest.mark.parametrize("statement", UNSAFE)
def test_an_unsafe_step_is_refused_unless_it_says_why(tmp_path: Path, statement: str) -> None:
    [fault] = find_faults(grow(tmp_path / "a", run(statement)))
    assert UNSAFE[statement] in fault.advice
    assert fault.revision == after(1)
    reason = 'unsafe_reason = "the table is empty everywhere"'
    assert find_faults(grow(tmp_path / "b", run(statement, attributes=reason))) == []


@pytest.mark.parametrize("migrations", SAFE)
def test_a_safe_step_is_not(tmp_path: Path, migrations: list[Migration]) -> None:
    assert find_faults(grow(tmp_path / "tree", *migrations)) == []


def test_a_second_statement_in_one_text_is_seen(tmp_path: Path) -> None:
    text = "ALTER TABLE documents ADD COLUMN a int; CREATE INDEX ix ON documents (a);"
    [fault] = find_faults(grow(tmp_path / "tree", run(text)))
    assert "keeps writers out" in fault.advice


def test_validating_in_the_same_transaction_is_no_gain(tmp_path: Path) -> None:
    [fault] = find_faults(grow(tmp_path / "tree", run(CHECK, VALIDATE)))
    assert "VALIDATE in the next revision" in fault.advice


def test_not_null_asks_for_the_validated_check_of_its_own_column(tmp_path: Path) -> None:
    other = run("ALTER TABLE documents ALTER COLUMN owner_id SET NOT NULL")
    [fault] = find_faults(grow(tmp_path / "tree", run(CHECK), run(VALIDATE), other))
    assert fault.revision == after(3)


def test_what_alembic_writes_is_understood(tmp_path: Path) -> None:
    bad = Migration(
        """
        op.alter_column("documents", "name", type_=sa.String(9), nullable=False)
        op.create_index("ix", "documents", ["name"])
        op.create_foreign_key("fk", "documents", "files", ["file_id"], ["id"])
        """
    )
    faults = find_faults(grow(tmp_path / "tree", bad))
    assert len(faults) == 4
    good = Migration(
        """
        op.create_index("ix", "documents", ["name"], postgresql_concurrently=True,
                        if_not_exists=True)
        """,
        attributes="autocommit = True",
    )
    assert find_faults(grow(tmp_path / "good", good)) == []
