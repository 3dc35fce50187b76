"""A mail server of the tests' own: it keeps what it gets, and can be out of order."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from sqlalchemy import func, select

from app.core.db import platform_session
from app.domains.jobs.models import Job, JobState
from app.integrations.mailer import MailUnavailable, Message

_TOKEN = re.compile(r"#token=([\w-]+)")


class PostOffice:
    """A `Mailer`."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.mails: list[Message] = []
        self.out_of_order = False

    def send(self, message: Message) -> None:
        if self.out_of_order:
            raise MailUnavailable("Out of order.")
        self.mails.append(message)

    def collect(self) -> None:
        """Does the jobs of mails that are due, as a worker does that is told of them."""
        with self.app.app_context(), platform_session() as session:
            waiting = session.scalars(
                select(Job.id)
                .where(Job.queue == "mail", Job.state == JobState.WAITING)
                .where(Job.due_at <= func.now())
                .order_by(Job.id)
            ).all()
        for job_id in waiting:
            work = self.app.extensions["celery"].tasks["jobs.run"]
            work.apply(kwargs={"job_id": str(job_id)}).get()

    def to(self, address: str) -> list[Message]:
        """The mails to the address, after the jobs that wait were done."""
        self.collect()
        return [mail for mail in self.mails if mail.to == address]

    def token(self, address: str) -> str:
        """That of the newest mail to the address."""
        return token_of(self.to(address)[-1])


def token_of(mail: Message) -> str:
    found = _TOKEN.search(mail.text)
    assert found, mail.text
    return found[1]


@contextmanager
def post_office(app: Flask) -> Iterator[PostOffice]:
    office, former = PostOffice(app), app.extensions["mailer"]
    app.extensions["mailer"] = office
    try:
        yield office
    finally:
        app.extensions["mailer"] = former
