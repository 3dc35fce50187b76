"""Mail behind a small `Protocol`: a console for development, and SMTP (RFC 5321)."""

import logging
import os
import re
import smtplib
import ssl
import unicodedata
from contextlib import closing, suppress
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import SplitResult, unquote, urlsplit

from flask import Flask, current_app

from app.core import clock, ids
from app.core.errors import Unavailable, Unprocessable
from app.settings import Settings

logger = logging.getLogger(__name__)

# For each step of the conversation: connecting, one command, one answer.
_TIMEOUT_SECONDS: Final = 10.0
_SUBMISSION_PORTS: Final = {"smtp": 587, "smtps": 465}
_PERMANENT: Final = 500
# Unquoted and ASCII (RFC 5321, section 4.1.2): nothing that a header or a server reads otherwise.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+\Z")
_BREAKS: Final = frozenset({"Cc", "Zl", "Zp"})
# Lines of a link stay whole, so that a person can read the mail as it travels.
_POLICY: Final = SMTP.clone(max_line_length=200)
_DEVELOPMENT_SENDER: Final = "Tenantry <no-reply@localhost>"


class MailUnavailable(Unavailable):
    """The mail was not handed over; it can be later."""

    code = "mail_unavailable"


class MailRefused(Unprocessable):
    """This mail will never be taken: its address is none, or the server will not have it."""

    code = "mail_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A mail to one address.

    Raises:
        MailRefused: no mail server knows such an address, or the subject has more than one line.
    """

    to: str
    subject: str
    text: str
    html: str | None = None

    def __post_init__(self) -> None:
        if not _ADDRESS.match(self.to):
            raise MailRefused("This is not an address that mail can be sent to.")
        if any(unicodedata.category(character) in _BREAKS for character in self.subject):
            raise MailRefused("A subject is one line.")


class Mailer(Protocol):
    def send(self, message: Message) -> None:
        """Hands the mail over; from then on the server answers for it (RFC 5321, section 6.1).

        Raises:
            MailUnavailable: not now.
            MailRefused: never.
        """
        ...


class ConsoleMailer:
    """Writes mails into the log, links included, and into a folder: for development only."""

    def __init__(self, *, folder: Path | None, sender: str = _DEVELOPMENT_SENDER) -> None:
        self._folder = folder
        self._sender = sender

    def send(self, message: Message) -> None:
        shown = {"to": message.to, "subject": message.subject, "text": message.text}
        logger.info("a mail", extra=shown)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{ids.new_id()}.eml"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as eml:
                eml.write(_mime(message, self._sender).as_bytes())
        except OSError as error:
            raise MailUnavailable("The mail could not be written to MAIL_FOLDER.") from error


class SmtpMailer:
    """One conversation for each mail; certificates are checked against the system's roots."""

    def __init__(self, url: SplitResult, *, sender: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        self._url = url
        self._sender = sender
        self._sender_address = parseaddr(sender)[1]
        self._timeout = timeout

    def send(self, message: Message) -> None:
        mime = _mime(message, self._sender)
        try:
            with closing(self._connect()) as server:
                self._introduce(server)
                server.send_message(mime, self._sender_address, [message.to])
                with suppress(smtplib.SMTPException, OSError):  # the mail is accepted
                    server.quit()
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
            if _code(error) < _PERMANENT:
                raise MailUnavailable("The mail server does not take mail just now.") from error
            raise MailRefused("The mail server does not take this mail.") from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailUnavailable("The mail server cannot be used just now.") from error

    def _connect(self) -> smtplib.SMTP:
        host, port = self._url.hostname or "", self._url.port or _SUBMISSION_PORTS[self._url.scheme]
        # Its own default would ask the DNS who we are.
        name = self._sender_address.partition("@")[2]
        if self._url.scheme == "smtps":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(host, port, name, timeout=self._timeout, context=context)
        return smtplib.SMTP(host, port, name, timeout=self._timeout)

    def _introduce(self, server: smtplib.SMTP) -> None:
        if self._url.scheme == "smtp" and self._url.query != "starttls=off":
            server.starttls(context=ssl.create_default_context())
        if self._url.username:
            server.login(unquote(self._url.username), unquote(self._url.password or ""))


def _mime(message: Message, sender: str) -> EmailMessage:
    mime = EmailMessage(policy=_POLICY)
    mime["From"] = sender
    mime["To"] = Address(addr_spec=message.to)
    mime["Subject"] = message.subject
    mime["Date"] = format_datetime(clock.now())
    mime["Message-ID"] = f"<{ids.new_id().hex}@{parseaddr(sender)[1].partition('@')[2]}>"
    mime["Auto-Submitted"] = "auto-generated"  # RFC 3834, section 5: nobody's absence answers it
    mime.set_content(message.text)
    if message.html is not None:
        mime.add_alternative(message.html, subtype="html")
    return mime


def _code(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> int:
    if isinstance(error, smtplib.SMTPDataError):
        return int(error.smtp_code)
    return max(int(code) for code, _ in error.recipients.values())


def create_mailer(settings: Settings) -> Mailer:
    """What MAIL_URL asks for; nothing is connected yet."""
    url = urlsplit(settings.mail_url.get_secret_value())
    if url.scheme == "console":
        return ConsoleMailer(folder=settings.mail_folder)
    return SmtpMailer(url, sender=settings.mail_from or "")


def init_app(app: Flask, mailer: Mailer) -> None:
    app.extensions["mailer"] = mailer


def current_mailer() -> Mailer:
    return cast("Mailer", current_app.extensions["mailer"])
