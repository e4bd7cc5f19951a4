"""What of the features is logged, from the section `log`: `exclude`, `hash` and `hash_key_file`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hushar.config.log import LogSection
from hushar.errors import ConfigurationError, Problem
from hushar.features.plan import Plan
from hushar.inference.privacy import Privacy, matches

KEY: Final = "log.hash_key_file"


def read_hash_key(path: str) -> bytes:
    """The key: the bytes of the file without one newline at its end.

    Blocks. Raises ConfigurationError for a file that cannot be read, and for one without a key in it.
    """
    try:
        key = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _unfit(f"cannot read {path}: {reason}") from error
    key = key.removesuffix(b"\n")
    if not key:
        raise _unfit(f"{path} holds no key: anybody could compute the hashes")
    return key


def _unfit(message: str) -> ConfigurationError:
    return ConfigurationError([Problem("", KEY, message)])


def make_privacy(section: LogSection, key: bytes | None, *, readable: bool) -> Privacy | None:
    """What the configuration says; None where everything is logged. `readable`: see Privacy."""
    if not section.exclude and not section.hash:
        return None
    return Privacy(section.exclude, section.hash, key or b"", readable=readable)


def idle_names(section: LogSection, plan: Plan) -> Iterator[str]:
    """A sentence about each name or pattern that no feature of the vectorization has: it may be a mistake, or
    mean features that clients send and the model ignores."""
    for key, names in (("log.exclude", section.exclude), ("log.hash", section.hash)):
        for name in names:
            if not any(matches(name, feature.name) for feature in plan.features):
                yield f"{key}: {name!r} matches no feature of the vectorization"
