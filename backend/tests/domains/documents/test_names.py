"""What people call their files, and what clients say they are."""

import re
from urllib.parse import unquote

import pytest
from werkzeug.test import TestResponse

from tests.cast import Cast
from tests.core.answers import refusal
from tests.domains.documents.files import upload

FORM = "multipart/form-data; boundary=b"

KEPT = [
    "plans.txt",
    "日本語 の 計画.pdf",
    "Ärger & Öl — 50 % “günstig”.txt",
    'say "hello".txt',
    "back`tick' $(id) ;.sh",
    "semi;colon=x.txt",
    "percent%20%41.txt",
    "emoji 👩\u200d👩\u200d👧 family.png",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",  # Persian: a non-joiner
    "Screenshot 2024-01-01 at 9.41.00\u202fAM.png",  # as macOS names it
    "全角\u3000空白.txt",
    "no-break\u00a0space.txt",
    "e\u0301 decomposed.txt",
    ".hidden",
    "no extension",
    "a" * 255,
    "ä" * 127 + "x",
    "..",
]

STRIPPED = [
    ("../../etc/passwd", "passwd"),
    ("/etc/passwd", "passwd"),
    ("C:\\Users\\alice\\plans.txt", "plans.txt"),
    ("..\\..\\plans.txt", "plans.txt"),
    ("  spaces around  ", "spaces around"),
    ("folder/plans.txt", "plans.txt"),
]

REFUSED = [
    "",
    "   ",
    "folder/",
    "a" * 256,
    "ä" * 128,
    "nul\x00.txt",
    "bell\x07.txt",
    "delete\x7f.txt",
    "c1\x9b.txt",
    "line\u2028separator.txt",
    "exe\u202etxt.fdp",  # would be shown as exepdf.txt
    "isolate\u2066.txt",
]


def raw(name: bytes) -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n'
        b"Content-Type: text/plain\r\n\r\nplans\r\n--b--\r\n"
    )


def send_named(cast: Cast, name: str) -> TestResponse:
    """As browsers do (WHATWG HTML, multipart/form-data encoding), with RFC 822's quoted pairs."""
    quoted = name.replace("\\", "\\\\").replace('"', "%22").encode()
    return cast.alice.post(cast.acme.documents, data=raw(quoted), content_type=FORM)


@pytest.mark.parametrize("name", KEPT)
def test_a_name_comes_back_as_it_was(cast: Cast, name: str) -> None:
    made = send_named(cast, name).get_json()
    assert made["name"] == name
    answer = cast.bob.get(f"{cast.acme.documents}/{made['id']}/download")
    header = answer.headers["Content-Disposition"]
    assert header.isascii()
    # RFC 6266 with RFC 8187: a quoted ASCII name for old clients, the exact one for all others.
    match = re.fullmatch(r"attachment; filename=\"([^\"\\%]+)\"; filename\*=UTF-8''(\S+)", header)
    assert match, header
    assert unquote(match[2]) == name
    assert re.fullmatch(r"[A-Za-z0-9!#$&+.^_`|~%-]+", match[2]), "attr-char of RFC 8187"


@pytest.mark.parametrize(("sent", "kept"), STRIPPED)
def test_only_the_last_part_of_a_path_is_a_name(cast: Cast, sent: str, kept: str) -> None:
    assert send_named(cast, sent).get_json()["name"] == kept


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_shown(cast: Cast, name: str) -> None:
    problem = refusal(send_named(cast, name), 422)
    assert set(problem["errors"]) == {"file"}


@pytest.mark.parametrize("name", [b"a\r\nb.txt", b"a\nb.txt", b"a\rb.txt", b"\xff\xfe.txt"])
def test_a_name_that_breaks_its_line_or_is_no_text(cast: Cast, name: bytes) -> None:
    answer = cast.alice.post(cast.acme.documents, data=raw(name), content_type=FORM)
    assert answer.status_code in {400, 422}, answer.text
    refusal(answer, answer.status_code)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("text/plain", "text/plain"),
        ("TEXT/Plain; charset=UTF-8", "text/plain"),
        ("image/svg+xml", "image/svg+xml"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("", "application/octet-stream"),
        ("text", "application/octet-stream"),
        ("text/", "application/octet-stream"),
        ("text/plain, text/html", "application/octet-stream"),
        ("text /plain", "application/octet-stream"),
        ("テキスト/プレーン", "application/octet-stream"),
        ("a/" + "b" * 200, "application/octet-stream"),
        ("<script>/x", "application/octet-stream"),
    ],
)
def test_a_content_type_is_a_media_type_or_plain_bytes(cast: Cast, sent: str, kept: str) -> None:
    body = raw(b"x.bin").replace(b"text/plain", sent.encode())
    answer = cast.alice.post(cast.acme.documents, data=body, content_type=FORM)
    assert answer.status_code == 201, answer.text
    made = answer.get_json()
    assert made["content_type"] == kept
    download = cast.bob.get(f"{cast.acme.documents}/{made['id']}/download")
    assert download.headers["Content-Type"].partition(";")[0] == kept


@pytest.mark.parametrize(
    "content_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml"]
)
def test_a_page_of_somebodys_is_never_a_page_of_ours(cast: Cast, content_type: str) -> None:
    script = b"<script>alert(document.cookie)</script>"
    made = upload(cast.ursula, cast.acme, script, "page.html", content_type)
    one = f"{cast.acme.documents}/{made['id']}"
    link = cast.ursula.get(one + "/download-url").get_json()["url"]
    for path in (one + "/download", "/api/links/" + link.rpartition("/")[2]):
        answer = cast.ursula.get(path)
        assert answer.data == script
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
