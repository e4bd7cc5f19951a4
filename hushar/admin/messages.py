"""The last warnings and errors that hushar has logged, for the status page."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

KEPT: Final = 20
LONGEST: Final = 500
"""Characters of a message that are kept."""


class RecentMessages(logging.Handler):
    """A handler that keeps what it gets, without tracebacks: these may show more than the messages do."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[Mapping[str, str | float]] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        try:
            message = record.getMessage()
        except Exception:
            self.handleError(record)
            return
        if len(message) > LONGEST:
            message = message[: LONGEST - 1] + "…"
        self._kept.append(
            {
                "time": record.created,
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": message,
            }
        )

    def newest_first(self) -> Sequence[Mapping[str, str | float]]:
        """What is kept. `time`: seconds since the epoch."""
        return list(reversed(self._kept))
