"""What the models of a configuration say about their keys, in the form that reading a value needs."""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo


class Place(enum.Enum):
    """Marks, in `Annotated`, a text that is made absolute by where it was written."""

    URI = "uri"
    """A path or a URI."""
    LOCAL = "local"
    """A path of the local disk."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    path: tuple[str, ...]
    """`("port_number",)`, `("log", "rotate_bytes")`."""
    field: FieldInfo
    is_text: bool
    """Whether text from the environment or the command line is the value itself, not JSON."""
    place: Place | None
    """Set where the value is a path or a URI."""

    @property
    def dotted(self) -> str:
        """`log.rotate_bytes`."""
        return ".".join(self.path)


def keys_of(model: type[BaseModel]) -> Mapping[tuple[str, ...], Key]:
    """All keys of a model by their path, those of its sections in place of the sections."""
    return {key.path: key for key in _walk(model, ())}


def sections_of(model: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """The fields of a model that are models themselves."""
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def text_only(annotation: Any) -> bool:
    """Whether a type takes nothing but text (or None): str, Literal of strings, a path."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return text_only(members[0])
    if origin is Literal:
        return all(isinstance(value, str | None) for value in members)
    if origin in (Union, UnionType):
        return all(text_only(member) for member in members if member is not NoneType)
    return isinstance(annotation, type) and issubclass(annotation, str | PurePath | SecretStr)


def _walk(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[Key]:
    sections = sections_of(model)
    for name, field in model.model_fields.items():
        if name in sections:
            yield from _walk(sections[name], (*prefix, name))
        else:
            annotation = field.annotation
            place = _place(annotation) or _place_in(field.metadata)
            yield Key((*prefix, name), field, text_only(annotation), place)


def _place(annotation: Any) -> Place | None:
    """The mark of `Annotated[str, Place.URI] | None`: pydantic keeps it inside the union."""
    for part in get_args(annotation):
        found = _place_in([part]) or _place(part)
        if found:
            return found
    return None


def _place_in(metadata: Any) -> Place | None:
    return next((item for item in metadata if isinstance(item, Place)), None)
