"""The tenants' schema: its revisions, and bringing databases from one to another.

`tree` knows the revisions, `rendering` makes SQL of them once, `applying` brings one database to a
revision, `linting` refuses steps that are unsafe on a table in use.
"""

from app.tenancy.migrations import tree


def head() -> str:
    """The newest revision that this code knows."""
    return tree.current().head


def supported() -> frozenset[str]:
    """The revisions whose databases the running code can serve."""
    return tree.current().supported


def digest() -> str:
    """Changes whenever the text of a migration does."""
    return tree.current().digest
