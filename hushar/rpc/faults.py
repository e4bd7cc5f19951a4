"""The error that costs a connection; a stream error is no exception but a RST_STREAM at once."""


class ConnectionFault(Exception):
    """A connection error: GOAWAY with `code`, and the end."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
