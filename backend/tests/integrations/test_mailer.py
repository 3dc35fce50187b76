"""Mail: the same contract for the console and for SMTP, against a server that really listens."""

import email.policy
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core import clock
from app.integrations.mailer import (
    ConsoleMailer,
    Mailer,
    MailRefused,
    MailUnavailable,
    Message,
    SmtpMailer,
)
from embedded.ports import LOOPBACK, free_port

SENDER = "Tenantry <no-reply@mail.example>"
MESSAGE = Message(
    to="alice@acme.example",
    subject="Grüße aus Zürich",
    text="Hello\n.\nA line with a dot before.\n\nhttps://app.example/#token=" + "x" * 86 + "\n",
    html="<p>Hello</p>",
)
# aiosmtpd keeps names that its own next release drops.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd")


class Postbox:
    """What an SMTP server took, and what it is to answer."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.recipient_answer = "250 OK"
        self.data_answer = "250 OK"
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.recipient_answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.recipient_answer

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Envelope
    ) -> str:
        if self.data_answer.startswith("250"):
            self.envelopes.append(envelope)
        return self.data_answer

    def authenticate(
        self, _server: Any, _session: Any, _envelope: Any, _way: str, data: Any
    ) -> Any:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss")


Serve = Callable[..., str]


@pytest.fixture
def postbox() -> Postbox:
    return Postbox()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now() - timedelta(minutes=5))
        .not_valid_after(clock.now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@pytest.fixture
def serve(postbox: Postbox) -> Iterator[Serve]:
    """Starts a server and returns host:port."""
    running: list[Controller] = []

    def start(**options: Any) -> str:
        port = free_port()
        controller = Controller(postbox, hostname=LOOPBACK, port=port, **options)
        controller.start()
        running.append(controller)
        return f"localhost:{port}"

    yield start
    for controller in running:
        controller.stop()


def smtp(url: str, timeout: float = 5.0) -> SmtpMailer:
    return SmtpMailer(urlsplit(url), sender=SENDER, timeout=timeout)


def parsed(raw: bytes) -> EmailMessage:
    made = BytesParser(policy=email.policy.default).parsebytes(raw)
    assert isinstance(made, EmailMessage)
    return made


@pytest.fixture(params=["console", "smtp"])
def sent(
    request: pytest.FixtureRequest, serve: Serve, postbox: Postbox, tmp_path: Path
) -> Callable[[Message], EmailMessage]:
    """Sends by either mailer; what arrived."""

    def by_console(message: Message) -> EmailMessage:
        ConsoleMailer(folder=tmp_path / "mails", sender=SENDER).send(message)
        (path,) = (tmp_path / "mails").glob("*.eml")
        assert path.stat().st_mode & 0o777 == 0o600
        return parsed(path.read_bytes())

    def by_smtp(message: Message) -> EmailMessage:
        smtp(f"smtp://{serve()}?starttls=off").send(message)
        (envelope,) = postbox.envelopes
        assert envelope.mail_from == "no-reply@mail.example"
        assert envelope.rcpt_tos == [message.to]
        assert isinstance(envelope.content, bytes)
        return parsed(envelope.content)

    return by_console if request.param == "console" else by_smtp


def test_a_mail_arrives_as_it_was_written(sent: Callable[[Message], EmailMessage]) -> None:
    arrived = sent(MESSAGE)
    assert arrived["From"] == SENDER
    assert arrived["To"] == MESSAGE.to
    assert arrived["Subject"] == MESSAGE.subject
    assert arrived["Auto-Submitted"] == "auto-generated"
    assert arrived["Date"].datetime.tzinfo is not None
    assert arrived["Message-ID"].endswith("@mail.example>")
    text, html = arrived.get_body(["plain"]), arrived.get_body(["html"])
    assert text is not None
    assert html is not None
    assert text.get_content().splitlines() == MESSAGE.text.splitlines()
    assert html.get_content().strip() == "<p>Hello</p>"


def test_html_is_optional(sent: Callable[[Message], EmailMessage]) -> None:
    arrived = sent(Message(to="bob@acme.example", subject="Hi", text="Plain\n"))
    assert arrived.get_content_type() == "text/plain"
    assert arrived.get_content().strip() == "Plain"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\u2029"])
def test_no_header_can_be_added(end: str) -> None:
    with pytest.raises(MailRefused):
        Message(to="alice@acme.example", subject=f"Hello{end}Bcc: mallory@globex.example", text="")
    with pytest.raises(MailRefused):
        Message(to=f"alice@acme.example{end}", subject="Hello", text="")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice",
        "@acme.example",
        "alice@acme.example, mallory@globex.example",
        "Alice <alice@acme.example>",
        '"mallory@globex.example> "@acme.example',
        "alice@acme.example> SIZE=1",
        "älice@acme.example",
    ],
)
def test_what_is_no_single_address(address: str) -> None:
    with pytest.raises(MailRefused):
        Message(to=address, subject="Hello", text="")


def test_starttls_and_login(serve: Serve, postbox: Postbox, certificate: ssl.SSLContext) -> None:
    host = serve(
        tls_context=certificate,
        require_starttls=True,
        authenticator=postbox.authenticate,
        auth_required=True,
    )
    smtp(f"smtp://user%40mail.example:p%40ss@{host}").send(MESSAGE)
    assert len(postbox.envelopes) == 1
    assert postbox.logins == [(b"user@mail.example", b"p@ss")]


def test_a_wrong_password_is_told_and_not_shown(
    serve: Serve, postbox: Postbox, certificate: ssl.SSLContext
) -> None:
    host = serve(tls_context=certificate, authenticator=postbox.authenticate)
    with pytest.raises(MailUnavailable) as raised:
        smtp(f"smtp://user:hunter2@{host}?starttls=required").send(MESSAGE)
    assert "hunter2" not in repr(raised.value) + repr(raised.value.__cause__)
    assert postbox.envelopes == []


def test_tls_from_the_start(postbox: Postbox, serve: Serve, certificate: ssl.SSLContext) -> None:
    host = serve(ssl_context=certificate)
    smtp(f"smtps://{host}").send(MESSAGE)
    assert len(postbox.envelopes) == 1


def test_a_server_without_starttls_gets_nothing(serve: Serve, postbox: Postbox) -> None:
    with pytest.raises(MailUnavailable):
        smtp(f"smtp://{serve()}").send(MESSAGE)
    assert postbox.envelopes == []


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_an_unknown_certificate_gets_nothing(
    serve: Serve,
    postbox: Postbox,
    certificate: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    options = {"tls_context" if scheme == "smtp" else "ssl_context": certificate}
    with pytest.raises(MailUnavailable):
        smtp(f"{scheme}://{serve(**options)}").send(MESSAGE)
    assert postbox.envelopes == []


def test_a_certificate_for_another_name_gets_nothing(
    serve: Serve, postbox: Postbox, certificate: ssl.SSLContext
) -> None:
    host = serve(tls_context=certificate).replace("localhost", LOOPBACK)
    with pytest.raises(MailUnavailable):
        smtp(f"smtp://{host}").send(MESSAGE)
    assert postbox.envelopes == []


@pytest.mark.parametrize(
    ("recipient", "data", "error"),
    [
        ("550 No such user", "250 OK", MailRefused),
        ("450 Mailbox busy", "250 OK", MailUnavailable),
        ("250 OK", "554 Looks like spam", MailRefused),
        ("250 OK", "451 Try later", MailUnavailable),
        ("421 Closing", "250 OK", MailUnavailable),
    ],
)
def test_a_refusal_for_good_differs_from_one_for_now(
    serve: Serve, postbox: Postbox, recipient: str, data: str, error: type[Exception]
) -> None:
    postbox.recipient_answer, postbox.data_answer = recipient, data
    with pytest.raises(error):
        smtp(f"smtp://{serve()}?starttls=off").send(MESSAGE)
    assert postbox.envelopes == []


def test_nobody_listens() -> None:
    with pytest.raises(MailUnavailable):
        smtp(f"smtp://{LOOPBACK}:{free_port()}?starttls=off").send(MESSAGE)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        mailer = smtp(f"smtp://{LOOPBACK}:{silent.getsockname()[1]}?starttls=off", timeout=0.2)
        with pytest.raises(MailUnavailable):
            mailer.send(MESSAGE)


def test_a_server_that_falls_silent_after_taking_the_mail_has_it() -> None:
    """Else the job would send it a second time."""

    def take(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"220 hello\r\n")
            stream.flush()
            answers = {b"EHLO": b"250 ok", b"MAIL": b"250 ok", b"RCPT": b"250 ok"}
            for line in stream:
                if (verb := line[:4].upper()) == b"DATA":
                    stream.write(b"354 go\r\n")
                    stream.flush()
                    while stream.readline() != b".\r\n":
                        pass
                    stream.write(b"250 taken\r\n")
                elif verb in answers:
                    stream.write(answers[verb] + b"\r\n")
                stream.flush()

    with socket.create_server((LOOPBACK, 0)) as listening:
        server = threading.Thread(target=take, args=(listening,))
        server.start()
        mailer = smtp(f"smtp://{LOOPBACK}:{listening.getsockname()[1]}?starttls=off", timeout=0.5)
        mailer.send(MESSAGE)
        server.join()


def test_the_console_writes_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    mailer: Mailer = ConsoleMailer(folder=None)
    with caplog.at_level(logging.INFO):
        mailer.send(MESSAGE)
    (record,) = caplog.records
    assert (vars(record)["to"], vars(record)["text"]) == (MESSAGE.to, MESSAGE.text)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MailUnavailable):
        ConsoleMailer(folder=tmp_path / "file").send(MESSAGE)
