"""One JSON object per line on standard error, with the context of the request or job."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

_context: ContextVar[dict[str, object]] = ContextVar("log_context")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_context.get({}),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # a lone surrogate, a large number: a line is never lost for them
            return json.dumps(line, default=str, skipkeys=True)


def configure() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # What no line says need not be found out for each (logging HOWTO, "Optimization"); gunicorn's
    # own lines say the process.
    logging.logThreads = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001


class log_context:  # noqa: N801  # read as a verb; a generator's context would cost thrice as much
    """Adds the values to each line that is logged inside the block."""

    __slots__ = ("_token", "_values")

    def __init__(self, **values: object) -> None:
        self._values = values

    def __enter__(self) -> None:
        self._token = _context.set({**_context.get({}), **self._values})

    def __exit__(self, *_: object) -> None:
        _context.reset(self._token)
