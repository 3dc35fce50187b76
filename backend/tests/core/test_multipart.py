"""Forms as no browser sends them: each is refused as the sender's mistake, none is an error."""

from collections.abc import Iterator
from io import RawIOBase
from typing import Any

import pytest

from tests.cast import Cast
from tests.core.answers import refusal

FORM = "multipart/form-data; boundary=b"


def part(disposition: str, content: bytes = b"plans", *headers: str) -> bytes:
    lines = [f"Content-Disposition: {disposition}", *headers]
    return b"--b\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


FILE = part('form-data; name="file"; filename="plans.txt"')
END = b"--b--\r\n"


def field(name: str, content: bytes = b"x") -> bytes:
    return part(f'form-data; name="{name}"', content)


ACCEPTED = {
    "a file": FILE + END,
    "a preamble and an epilogue": b"This is a form.\r\n" + FILE + END + b"The end.",
    "fields before the file": field("a") + field("b") + FILE + END,
    "fields after the file": FILE + field("a") + END,
    "a large field before the file": field("a", b"x" * 500_000) + FILE + END,
    "ends of lines without CR": (FILE + END).replace(b"\r\n", b"\n"),
    "a folded header": part('form-data;\r\n name="file";\r\n filename="plans.txt"') + END,
    "no line after the end": FILE + b"--b--",
    "header names in capitals": FILE.replace(b"Content-Disposition", b"CONTENT-DISPOSITION") + END,
    "an extended name": part("form-data; name=\"file\"; filename*=UTF-8''plans.txt") + END,
}

REFUSED = {
    "nothing": b"",
    "only the end": END,
    "only a boundary": b"--b\r\n",
    "another boundary": FILE.replace(b"--b", b"--c") + b"--c--\r\n",
    "no end": FILE,
    "no content": b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n',
    "no boundary at all": b"plans",
    "a field only": field("file") + END,
    "a file in another part": part('form-data; name="upload"; filename="x"') + END,
    "a file in a part without a name": part('form-data; filename="x"') + END,
    "two files": FILE + FILE + END,
    "two files, the second elsewhere": FILE + part('form-data; name="b"; filename="x"') + END,
    "two files, the first elsewhere": part('form-data; name="b"; filename="x"') + FILE + END,
    "no disposition": b"--b\r\nContent-Type: text/plain\r\n\r\nplans\r\n" + END,
    "no headers": b"--b\r\n\r\nplans\r\n" + END,
    "headers that are no text": b"--b\r\n\xff\xfe: \xff\r\n\r\nplans\r\n" + END,
    "headers without an end": b"--b\r\n" + b"X-A: b\r\n" * 50_000,
    "a header without an end": b"--b\r\nX-A: " + b"b" * 500_000,
    "thousands of fields": field("a") * 5_000 + FILE + END,
    "thousands of fields behind": FILE + field("a") * 5_000 + END,
    "thousands of boundaries": b"--b\r\n" * 5_000 + END,
    "a preamble without an end": b"x" * 500_000,
    "CR in a name": part('form-data; name="fi\rle"; filename="x"') + END,
    "NUL in a part's name": part('form-data; name="fi\x00le"; filename="x"') + END,
}


def send(cast: Cast, body: bytes, content_type: str = FORM) -> Any:
    return cast.alice.post(cast.acme.documents, data=body, content_type=content_type)


def count(cast: Cast) -> int:
    query = {"limit": 200}
    return len(cast.alice.get(cast.acme.documents, query_string=query).get_json()["items"])


@pytest.mark.parametrize("form", ACCEPTED)
def test_a_form_that_is_unusual(cast: Cast, form: str) -> None:
    answer = send(cast, ACCEPTED[form])
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    assert (made["name"], made["size"]) == ("plans.txt", 5)


@pytest.mark.parametrize("form", REFUSED)
def test_a_form_that_is_none(cast: Cast, form: str) -> None:
    before = count(cast)
    refusal(send(cast, REFUSED[form]), 400, "bad_request")
    assert count(cast) == before


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary",
        "multipart/mixed; boundary=b",
        "application/x-www-form-urlencoded",
        "nonsense",
        "multipart/form-data; charset=utf-8",
    ],
)
def test_what_is_no_form(cast: Cast, content_type: str) -> None:
    refusal(send(cast, FILE + END, content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "boundary", ["(.*)+$", "[", "\\", "b" * 70, "ü", "b" * 5000, "-", "--", "'"]
)
def test_a_boundary_is_text_and_no_pattern(cast: Cast, boundary: str) -> None:
    dashed = b"--" + boundary.encode("latin-1")
    body = (FILE + END).replace(b"--b", dashed)
    quoted = boundary.replace("\\", "\\\\")
    answer = send(cast, body, f'multipart/form-data; boundary="{quoted}"')
    assert answer.status_code == 201, answer.text


class Endless(RawIOBase):
    """A field of a form that never ends, and comes without an announced length."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self._parts = self._make()

    def _make(self) -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        while True:
            yield b"x" * 8192

    def read(self, size: int | None = -1) -> bytes:
        part = next(self._parts)
        self.sent += len(part)
        assert self.sent < 64 * 1024**2, "nothing stops it"
        return part


def test_a_field_without_an_end(cast: Cast) -> None:
    limit = cast.alice.app.config["MAX_UPLOAD_BYTES"]
    cast.alice.app.config["MAX_UPLOAD_BYTES"] = 1024**2
    wire = {
        "wsgi.input": Endless(),
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "CONTENT_TYPE": FORM,
    }
    try:
        answer = cast.alice.post(cast.acme.documents, environ_overrides=wire)
    finally:
        cast.alice.app.config["MAX_UPLOAD_BYTES"] = limit
    refusal(answer, 413, "payload_too_large")
