"""What pydantic's findings mean, whatever words are used for them."""

from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from hushar.refusals import is_empty, kind_expected, limit_of


class Inner(BaseModel):
    x: int = 0


class Model(BaseModel, strict=True):
    integer: Annotated[int, Field(ge=1, lt=9)] = 1
    number: Annotated[float, Field(gt=0.5, le=2.0)] = 1.0
    string: Annotated[str, Field(min_length=2)] = "ab"
    boolean: bool = True
    list: Annotated[tuple[int, ...], Field(min_length=2)] = (1, 2)
    object: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Field(default_factory=Inner)


def finding(**given):
    with pytest.raises(ValidationError) as caught:
        Model(**given)
    (found,) = caught.value.errors()
    return found


@pytest.mark.parametrize("key", ["integer", "number", "string", "boolean", "list", "object", "inner"])
def test_the_kind_that_was_expected(key):
    found = finding(**{key: b"bytes"})
    assert kind_expected(found) == {"inner": "object"}.get(key, key)
    assert limit_of(found) is None


@pytest.mark.parametrize(
    ("given", "limit"),
    [({"integer": 0}, "1"), ({"integer": 9}, "9"), ({"number": 0.5}, "0.5"), ({"number": 3.0}, "2")],
)
def test_the_limit_that_a_number_is_beyond(given, limit):
    found = finding(**given)
    assert str(limit_of(found)) == limit
    assert kind_expected(found) is None


@pytest.mark.parametrize(
    ("given", "empty"),
    [({"string": ""}, True), ({"string": "a"}, False), ({"list": ()}, True), ({"list": (1,)}, False)],
)
def test_too_short_is_not_always_empty(given, empty):
    assert is_empty(finding(**given)) == empty
