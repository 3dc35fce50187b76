"""docs/identity.md shows the table of permissions as it is."""

from app.domains.access.policy import PERMISSIONS, PLATFORM_ADMIN
from tests.paths import PROJECT

_COLUMNS = [PERMISSIONS[role] for role in ("viewer", "user", "admin", "owner")] + [PLATFORM_ADMIN]


def table() -> list[str]:
    """The rows, as Markdown."""
    return [
        f"| `{permission}` | " + " | ".join("✓" if permission in has else "" for has in _COLUMNS)
        + " |"
        for permission in sorted(frozenset().union(*_COLUMNS))
    ]  # fmt: skip


def test_the_table_of_permissions_is_the_policys() -> None:
    page = (PROJECT / "docs" / "identity.md").read_text(encoding="utf-8")
    _, _, behind = page.partition("| permission | viewer | user | admin | owner |")
    rows = behind.partition("\n\n")[0].splitlines()[2:]
    assert rows == table()
