"""Text out of files; what a file does to its parser, it does to a child that dies alone."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from app.integrations import extraction
from app.integrations.extraction import Extract, Limits, extract
from tests.domains.documents import office

GENEROUS = Limits(seconds=60, memory_bytes=1024**3, characters=10_000)
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def of(content: bytes, limits: Limits = GENEROUS) -> Extract:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return extract(file, limits=limits)


def encrypted() -> bytes:
    with tempfile.TemporaryFile() as plain, tempfile.TemporaryFile() as made:
        plain.write(office.pdf("plans"))
        writer = PdfWriter(clone_from=PdfReader(plain))
        writer.encrypt("secret", algorithm="AES-256")
        writer.write(made)
        made.seek(0)
        return made.read()


@pytest.mark.parametrize(
    ("content", "kind", "failure"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "image/png", "unsupported"),
        (b"<?xml version='1.0'?><svg onload='x()'/>", "image/svg+xml", "unsupported"),
        (office.archive({"a.txt": b"plans"}), "application/zip", "unsupported"),
        (bytes(range(256)), "application/octet-stream", "unsupported"),
        (b"%PDF-1.7 and no more", "application/pdf", "unreadable"),
        (encrypted(), "application/pdf", "encrypted"),
    ],
    ids=["png", "svg", "zip", "binary", "no pdf", "encrypted pdf"],
)
def test_what_holds_no_text_is_named_all_the_same(content: bytes, kind: str, failure: str) -> None:
    assert of(content) == Extract(content_type=kind, failure=failure)


@pytest.mark.parametrize(
    "content",
    ["Grüße".encode(), "Grüße".encode("utf-16"), "Grüße".encode("cp1252"), "\ufeffGrüße".encode()],
    ids=["utf-8", "utf-16", "cp1252", "marked"],
)
def test_plain_text_in_its_encodings(content: bytes) -> None:
    assert of(content) == Extract(content_type="text/plain", text="Grüße")


def test_a_text_is_cut_and_its_controls_are_blanks() -> None:
    short = Limits(seconds=60, memory_bytes=1024**3, characters=12)
    assert of(b"plans\x1b[1m \r\n\t of\xe2\x80\xa8the year", short).text == "plans [1m of"


def test_a_bomb_takes_the_memory_of_its_child_alone() -> None:
    content = office.bomb(60 * 1024**2)
    assert len(content) < 200_000
    tight = Limits(seconds=60, memory_bytes=160 * 1024**2, characters=10_000)
    assert of(content, tight) == Extract(content_type=_WORD, failure="out_of_memory")
    assert of(office.word("plans"), tight).text == "plans"  # the control


def test_one_that_takes_too_long_is_killed() -> None:
    hasty = Limits(seconds=0.01, memory_bytes=1024**3, characters=10)
    assert of(b"plans", hasty) == Extract(failure="timed_out")


def test_a_child_that_is_killed_or_raves_has_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a parser in C does that a file gets the better of."""
    for raving in (f"kill -{signal.SIGSEGV.value} $$", "echo '{}{}'", "echo '[1]'", "exit 3"):
        monkeypatch.setattr(extraction, "_COMMAND", ("/bin/sh", "-c", raving))
        assert of(b"plans") == Extract(failure="crashed"), raving


def test_the_child_knows_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "plans")
    tell = 'printf \'{"text": "%s %s"}\' "$SECRET_KEY" "$(ls /proc/self/fd | wc -w)"'
    monkeypatch.setattr(extraction, "_COMMAND", ("/bin/sh", "-c", tell))
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        os.set_inheritable(descriptor, True)
        told = of(b"").text or ""
    finally:
        os.close(descriptor)
    assert told.split() == ["4"]  # its own three, and the one that ls reads
