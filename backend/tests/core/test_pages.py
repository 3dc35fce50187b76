"""Pages: a signed cursor, and one item more than asked for."""

from uuid import uuid4

import pytest

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


def test_a_cursor_continues_what_it_was_made_for() -> None:
    query = ["documents", new_id(), {"tags": ["plan"]}]
    cursor = CURSORS.dump_position(["Report", 7, None], query=query)
    assert CURSORS.load_position(cursor, query=query) == ["Report", 7, None]
    for other in (None, [], [*query, "more"], ["documents", new_id(), {"tags": ["plan"]}]):
        with pytest.raises(Unprocessable):
            CURSORS.load_position(cursor, query=other)
    with pytest.raises(Unprocessable):
        CURSORS.load(cursor)


def test_a_changed_cursor_is_none() -> None:
    cursor = CURSORS.dump(new_id())
    for place, letter in enumerate(cursor[:-1]):  # the last one has bits to spare
        changed = cursor[:place] + ("A" if letter != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(Unprocessable):
            CURSORS.load(changed)


@pytest.mark.parametrize("content", [None, 1, "", "no id", [], {}, ["x"], True, 1.5, "x" * 1000])
def test_what_is_signed_and_no_id(content: object) -> None:
    with pytest.raises(Unprocessable) as raised:
        CURSORS.load(CURSORS.dump_position([content], query=None))
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
