"""What the sections of the service configuration are made of: their base, and the types of values."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from hushar.config.keys import Place
from hushar.config.wording import CONFLICT

MAX_WORKERS = 1024
"""More tasks of one kind than anybody has disks or metric sinks for: a slip of the finger."""


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _plain(value: str) -> str:
    """No character that could break a line of a log, a name of a file, or a terminal."""
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise ValueError(f"must not hold control characters, got U+{ord(character):04X}")
    return value


def no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    """A list in which nothing stands twice. Raises ValueError."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} stands twice")
    return values


def conflict(message: str, other: str) -> PydanticCustomError:
    """Two keys of one section that exclude each other. `message` names both with their section."""
    return PydanticCustomError(CONFLICT, "{message}", {"message": message, "other": other})


Name = Annotated[str, AfterValidator(_filled), AfterValidator(_plain)]
Names = Annotated[tuple[Name, ...], Field(strict=False), AfterValidator(no_repeats)]
"""A list in the file; `strict=False` takes it for the tuple that a frozen model holds."""
Uri = Annotated[str, AfterValidator(_filled), Place.URI]
LocalPath = Annotated[str, AfterValidator(_filled), Place.LOCAL]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SecondsOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Workers = Annotated[int, Field(ge=1, le=MAX_WORKERS)]
Threads = Annotated[int, Field(ge=0, le=MAX_WORKERS)]


class Section(BaseModel):
    """What all parts of the configuration have in common."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        validate_default=True,  # the checks of one key against another run whichever of them is given
        use_attribute_docstrings=True,
        protected_namespaces=(),  # `model_path` and `model_id` are the Rust server's names
    )
