"""What models say about their keys."""

import enum
from pathlib import Path
from typing import Annotated, Literal, Optional

import pytest
from pydantic import BaseModel, SecretStr

from hushar.config.keys import Place, keys_of, text_only


class Color(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, True),
        (str | None, True),
        (Optional[str], True),  # noqa: UP045 - plugins may write it so
        (Annotated[str, 1] | None, True),
        (Literal["a", "b"], True),
        (Literal["a", 1], False),
        (Path, True),
        (SecretStr, True),
        (Color, True),
        (int, False),
        (str | int, False),
        (list[str], False),
        (tuple[str, ...], False),
        (dict[str, str], False),
        (BaseModel, False),
    ],
)
def test_text_only(annotation, expected):
    assert text_only(annotation) is expected


def test_keys_of_sections_and_places():
    class Inner(BaseModel):
        folder: Annotated[str, Place.LOCAL] | None = None

    class Outer(BaseModel):
        uri: Annotated[str, Place.URI]
        number: int
        inner: Inner = Inner()

    keys = keys_of(Outer)
    assert {key.dotted: key.place for key in keys.values()} == {
        "uri": Place.URI,
        "number": None,
        "inner.folder": Place.LOCAL,
    }
