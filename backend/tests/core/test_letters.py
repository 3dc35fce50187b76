"""Letters: one wording for text and HTML, and nothing that a person typed can change its shape."""

import re

import pytest

from app.core import letters
from tests.paths import APP

LINK = "https://app.example/accept-invitation#token=abc-_1"
VALUES = {
    "inviter": "Alice",
    "inviter_email": "alice@acme.example",
    "tenant": "Acme",
    "role": "user",
    "slug": "acme",
    "expires_at": "2026-11-21 08:00 UTC",
    "title": "Acme is suspended",
    "text": "Nobody can use it.",
    "choice": "There is a choice.",
}
NAMES = [path.stem for path in (APP / "mails").glob("*.txt")]


@pytest.mark.parametrize("name", NAMES)
def test_every_letter_has_a_subject_a_link_and_the_same_words_twice(name: str) -> None:
    letter = letters.write(name, link=LINK, **VALUES)
    assert "\n" not in letter.subject
    assert 0 < len(letter.subject) < 78
    assert f"\n{LINK}\n" in letter.text
    assert f'<a href="{LINK}">{LINK}</a>' in letter.html
    words = re.sub(r"<[^>]*>", " ", letter.html).replace("&#34;", '"').split()
    assert words == letter.text.split()


def test_a_value_that_is_missing_is_a_mistake() -> None:
    with pytest.raises(Exception, match="undefined"):
        letters.write("invitation", link=LINK)


@pytest.mark.parametrize("end", ["\r\n", "\n\n", "\x0b", "\x85", "\u2028", "\x00", "\u202e"])
def test_a_name_stays_in_its_line(end: str) -> None:
    hostile = f"Acme{end}Bcc: mallory@globex.example{end}{end}Pay here"
    letter = letters.write("invitation", link=LINK, **VALUES | {"tenant": hostile})
    tame = letters.write("invitation", link=LINK, **VALUES)
    assert len(letter.subject.splitlines()) == 1
    assert end not in letter.subject
    assert len(letter.text.split("\n\n")) == len(tame.text.split("\n\n"))
    assert letter.html.count("<p>") == tame.html.count("<p>")


def test_a_name_is_no_markup() -> None:
    hostile = '<img src=x onerror="alert(1)">{{ link }}'
    letter = letters.write("invitation", link=LINK, **VALUES | {"tenant": hostile})
    assert "<img" not in letter.html
    assert "{{ link }}" in letter.text
