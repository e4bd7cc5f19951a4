"""How a value with a unit is to be written, and what is said of a plugin's settings."""

from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from hushar.config.wording import message_of, suffix_hint


class Settings(BaseModel):
    """What a plugin may come up with."""

    code: Annotated[str, Field(min_length=2)] = "ab"
    names: Annotated[list[str], Field(min_length=2)] = ["a", "b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"code": ""}, "must not be empty"),
        ({"names": []}, "must not be empty"),
        ({"code": "a"}, "string should have at least 2 characters"),
        ({"names": ["a"]}, "list should have at least 2 items after validation, not 1"),
    ],
)
def test_only_what_is_empty_is_said_to_be(given, message):
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    (finding,) = caught.value.errors()
    assert message_of(finding, "") == message


@pytest.mark.parametrize(
    ("value", "key", "hint"),
    [
        ("1KiB", "rotate_bytes", ": values have no unit suffix, write 1024"),
        ("1k", "rotate_bytes", ": values have no unit suffix, write 1024"),
        ("2 GB", "queue_bytes", ": values have no unit suffix, write 2000000000"),
        ("5min", "rotate_seconds", ": values have no unit suffix, write 300"),
        ("1.5h", "rotate_seconds", ": values have no unit suffix, write 5400"),
        ("100us", "fsync_seconds", ": values have no unit suffix, write 0.0001"),
        ("3 parsecs", "rotate_seconds", ": values have no unit suffix"),
        ("5", "workers", ": write it without quotes"),
        ("5k", "workers", ""),
        ("many", "rotate_bytes", ""),
        (None, "rotate_bytes", ""),
    ],
)
def test_suffix_hint(value, key, hint):
    assert suffix_hint(value, key) == hint
