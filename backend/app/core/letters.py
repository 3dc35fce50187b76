"""Letters: the wording of mails, which lies in app/mails.

A letter is one text: its first line is the subject, blank lines part its paragraphs. The HTML is
made of the same paragraphs, so the two never say different things.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parents[1] / "mails"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
)


@dataclass(frozen=True, slots=True)
class Letter:
    subject: str
    text: str
    html: str


def words(name: str, **values: object) -> tuple[str, str]:
    """Subject and text of app/mails/{name}.txt; values of more than one line are put into one."""
    lines = {key: _one_line(value) for key, value in values.items()}
    subject, _, text = _ENVIRONMENT.get_template(f"{name}.txt").render(lines).partition("\n\n")
    return subject, text.strip()


def write(name: str, *, link: str, **values: object) -> Letter:
    """The letter of app/mails/{name}.txt; see `words`."""
    subject, text = words(name, link=link, **values)
    html = _ENVIRONMENT.get_template("layout.html").render(paragraphs=text.split("\n\n"), link=link)
    return Letter(subject, text + "\n", html)


def _one_line(value: object) -> str:
    """What a person typed can neither end the subject nor begin a paragraph of its own."""
    return "".join(filter(str.isprintable, " ".join(str(value).split())))
