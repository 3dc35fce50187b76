"""Pages: a signed cursor, and one item more than asked for."""

from uuid import uuid4

import pytest
from itsdangerous import URLSafeSerializer

from app.core.errors import Unprocessable
from app.core.ids import new_id
from app.core.pages import Cursors, page_of

SECRET = "a secret key of more than 32 characters"
CURSORS = Cursors(SECRET)


def test_a_cursor_is_opened_by_who_made_it() -> None:
    item = new_id()
    cursor = CURSORS.dump(item)
    assert CURSORS.load(cursor) == item
    assert cursor == cursor.strip()
    with pytest.raises(Unprocessable):
        Cursors("another secret key of 32 characters").load(cursor)


def test_another_purposes_signature_is_no_cursor() -> None:
    for salt in ("file-link", "itsdangerous", ""):
        forged = URLSafeSerializer(SECRET, salt=salt).dumps(new_id().hex)
        with pytest.raises(Unprocessable):
            CURSORS.load(forged)


@pytest.mark.parametrize("content", [None, 1, "", "no id", [], {}, ["x"], True, 1.5, "x" * 1000])
def test_what_is_signed_and_no_id(content: object) -> None:
    forged = URLSafeSerializer(SECRET, salt="cursor").dumps(content)
    with pytest.raises(Unprocessable) as raised:
        CURSORS.load(forged)
    assert set(raised.value.errors or {}) == {"cursor"}


@pytest.mark.parametrize("cursor", ["", ".", "..", "a.b", "日本", "\x00", "A" * 10_000, ".eJw.x"])
def test_what_is_not_signed(cursor: str) -> None:
    with pytest.raises(Unprocessable):
        CURSORS.load(cursor)


@pytest.mark.parametrize(("found", "kept", "more"), [(0, 0, False), (2, 2, False), (3, 2, True)])
def test_a_page_of_two(*, found: int, kept: int, more: bool) -> None:
    rows = [uuid4() for _ in range(found)]
    page = page_of(rows, limit=2, cursors=CURSORS, id_of=lambda row: row)
    assert list(page.items) == rows[:kept]
    assert (page.next_cursor is not None) == more
    if page.next_cursor is not None:
        assert CURSORS.load(page.next_cursor) == rows[1]


def test_ids_sort_by_the_time_of_their_making() -> None:
    made = [new_id() for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000
    assert all(one.version == 7 for one in made)
