"""How many requests the API works on, how many wait for it, and for how long."""

from typing import Annotated

from pydantic import Field

from app.settings.rules import Group


class Serving(Group):
    api_workers: Annotated[int, Field(ge=1, le=100)] = 2
    """Processes of the API that gunicorn starts; `PROCESS_COUNT` and the connections follow."""
    api_threads: Annotated[int, Field(ge=1, le=100)] = 4
    """Requests that each of them works on at the same time."""
    api_wait_seconds: Annotated[float, Field(ge=0.05, le=30)] = 2.0
    """How long a request waits for one of these at most. One that would have to wait for more than
    half of that gets 503 `overloaded` at once."""
    request_seconds: Annotated[float, Field(ge=1, le=600)] = 60.0
    """How long a request may take: then its SQL is cancelled, and it gets 503
    `deadline_exceeded`. Not for files and live streams."""
    processes_beside: Annotated[int, Field(ge=0, le=1000)] = 2
    """Processes that connect to PostgreSQL beside the API's: the job workers' children."""
