"""What a client raises.

HusharError
├── ConfigurationError
│   └── BadRows             rows that cannot be sent: every one that was found
└── CallFailed              the server's answer is an error: a gRPC status name and a sentence
    └── ConnectionFailed    UNAVAILABLE: no server there, or the connection broke
"""

from hushar.errors import ConfigurationError, HusharError


class BadRows(ConfigurationError):
    """Rows that cannot be made into InputRows; nothing was sent. One line a mistake in `str()`.

    Each problem names the source (file or argument), the line or the row, the feature and the kind.
    """


class CallFailed(HusharError):
    """A call ended with another status than OK. `str()` is `CODE: message`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        """The status's name, such as INVALID_ARGUMENT or DEADLINE_EXCEEDED."""
        self.message = message


class ConnectionFailed(CallFailed):
    """There is no connection: none could be made, or it broke before the answer. Safe to try again, with
    the same Client; the server may have scored (and logged) a call whose connection broke.
    """

    def __init__(self, message: str) -> None:
        super().__init__("UNAVAILABLE", message)
