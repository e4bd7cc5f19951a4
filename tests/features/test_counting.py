"""Rows are counted by the top level alone, alike by the readable and the compiled one."""

import pytest

from hushar.features.counting import count_rows


@pytest.fixture
def count(implementation, make):
    vectorizer = implementation(make.plan(x={"type": "identity", "default_val": [0]}))
    return lambda message: vectorizer.count([message])[0]


def test_what_is_no_row(count, wire):
    group = b"\x4b" + wire.field(2, b"") + b"\x13\x14" + b"\x4c"
    numbers = b"\x10\x01" + b"\x15abcd" + b"\x11abcdefgh" + b"\x13\x14"

    assert count(b"") == 0
    assert count(wire.field(1, wire.field(2, b""))) == 0
    assert count(group) == 0
    assert count(numbers) == 0
    assert count(wire.field(2, b"") + group + numbers + wire.field(2, b"")) == 2


def test_what_is_in_a_row_does_not_matter(count, wire):
    assert count(wire.field(2, b"\xff")) == 1


def test_tags_and_lengths_may_be_long(count):
    assert count(b"\x92\x80\x80\x80\x00\x81\x80\x80\x80\x00x") == 1
    assert count(b"\x92\x80\x80\x80\x80\x00\x00") == 0


@pytest.mark.parametrize("end", [b"", b"\x12", b"\x12\x05", b"\x4c", b"\x16\x00", b"\x4b", b"\xff", b"\x09"])
def test_what_does_not_decode_is_some_number(count, wire, end):
    assert 2 <= count(wire.field(2, b"") * 2 + end) <= 3


def test_a_list_of_messages(wire):
    assert count_rows([wire.field(2, b"") * n for n in range(4)]) == [0, 1, 2, 3]
    assert count_rows([]) == []
