"""hushar's own messages: the standard logging, on one stream, as text or as JSON lines."""

import json
import logging
import time
from typing import TextIO


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message; `exception` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = getattr(record, "fields", None)
        if fields is not None:
            entry |= fields
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        # The one control character that JSON lets stand as it is.
        return json.dumps(entry).replace("\x7f", r"\u007f")


class TextFormatter(logging.Formatter):
    """`2026-11-24T17:00:00Z info hushar.sidecars: …`; what is below is a record's traceback."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(lower)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        record.lower = record.levelname.lower()
        return super().format(record)


def configure_messages(form: str, level: str, stream: TextIO) -> None:
    """Send everything that is logged below `hushar` to `stream`. `form`: "text" or "json"."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logger = logging.getLogger("hushar")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # purerpc logs a call that is cancelled at the end of a drain as if something were wrong.
    logging.getLogger("purerpc").setLevel(logging.CRITICAL)
