"""Secrets that must not be found again."""

import psycopg

from app.settings import Settings


def holds(settings: Settings, text: str) -> bool:
    """Whether any row of the main database has the text, or its bytes, in any column."""
    assert settings.database_owner_url is not None
    url = settings.database_owner_url.get_secret_value()
    found = "SELECT count(*) FROM {} AS t WHERE strpos(t::text, %s) > 0 OR strpos(t::text, %s) > 0"
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT oid::regclass FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        counts = [
            connection.execute(found.format(table).encode(), (text, text.encode().hex())).fetchone()
            for (table,) in tables
        ]
    return any(count != (0,) for count in counts)
