"""What follows from events about documents."""

from app.core.cloudevents import CloudEvent
from app.core.consumers import consumer
from app.core.db import MainSession
from app.domains.jobs import service as jobs


@consumer(name="documents.process_file", types=("file.process.v1",), plane="main")
def process_file(session: MainSession, event: CloudEvent) -> None:
    """A job of its own, which takes its time: events behind this one do not wait for it."""
    jobs.schedule(
        session, "documents.process_file", tenant_id=event.tenantid, file_id=event.data["file_id"]
    )
