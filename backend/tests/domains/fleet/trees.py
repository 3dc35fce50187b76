"""Migration trees for tests: the product's own, and revisions of the test's on top."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import pytest

from app.core.db import MIGRATIONS
from app.tenancy.migrations import tree
from app.tenancy.migrations.tree import Tree

HEAD = Tree(MIGRATIONS / "tenant").head


def after(count: int) -> str:
    """The revision of a test's so-many-th migration; 0 is the product's own head."""
    return f"{int(HEAD) + count:04}"


@dataclass(frozen=True)
class Migration:
    """One revision: the bodies of its functions, and attributes of its module as Python."""

    up: str
    down: str = "pass"
    attributes: str = ""


def column(name: str, **more: str) -> Migration:
    """A column more on documents: what an ordinary release brings."""
    return Migration(
        f'op.add_column("documents", sa.Column("{name}", sa.Text()))',
        f'op.drop_column("documents", "{name}")',
        **more,
    )


def grow(folder: Path, *migrations: Migration) -> Tree:
    """The product's tree with these revisions after its head."""
    shutil.copytree(MIGRATIONS / "tenant", folder)
    head = HEAD
    for number, migration in enumerate(migrations, start=1):
        revision = after(number)
        text = dedent(
            f'''
            """Migration {revision}."""

            import sqlalchemy as sa
            from alembic import op

            revision = "{revision}"
            down_revision = "{head}"
            '''
        )
        text += f"{dedent(migration.attributes)}\n\ndef upgrade():\n"
        text += indent(dedent(migration.up).strip(), "    ")
        text += "\n\n\ndef downgrade():\n" + indent(dedent(migration.down).strip(), "    ") + "\n"
        (folder / "versions" / f"{revision}_test.py").write_text(text.lstrip())
        head = revision
    return Tree(folder)


@contextmanager
def released(new: Tree) -> Iterator[Tree]:
    """This process runs code that ships with the tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "TENANT", new)
        yield new
