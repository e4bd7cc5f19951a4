"""Runs messages through an implementation of hushar.features.vectorize.Vectorizer, and compares."""

from dataclasses import dataclass

import numpy as np

from hushar.errors import InvalidRequest, UndecodableRequest
from kernelkit import oracle

_NAN = np.uint32(0x7FC00000)


def bits(matrix):
    """The bit patterns of a float32 matrix; a NaN is a NaN (CONTRACT.md 1)."""
    patterns = np.ascontiguousarray(matrix).view(np.uint32).copy()
    patterns[np.isnan(matrix)] = _NAN
    return patterns


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one part: its rows, or its error."""

    matrix: np.ndarray | None
    error: BaseException | None

    def same(self, other):
        """Whether both are the same rows bit for bit, or the same error in the same words."""
        if self.error is not None or other.error is not None:
            return type(self.error) is type(other.error) and str(self.error) == str(other.error)
        return np.array_equal(bits(self.matrix), bits(other.matrix))

    def agrees(self, expected):
        """Whether it is what the oracle expects."""
        if isinstance(expected, str):
            return type(self.error) is UndecodableRequest and str(self.error) == expected
        if isinstance(expected, oracle.Refused):
            return type(self.error) is InvalidRequest and expected.told_in(str(self.error))
        return self.error is None and np.array_equal(bits(self.matrix), bits(expected))

    def __str__(self):
        if self.error is not None:
            return f"{type(self.error).__name__}: {self.error}"
        shown = self.matrix.tolist() if self.matrix.size <= 200 else "…"
        return f"{self.matrix.shape} {shown}"


def checked(vectorizer, parts, rows):
    """`vectorize`, with what holds for every result; also the first row of each part."""
    result = vectorizer.vectorize(parts, rows)
    matrix = result.matrix
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert len(result.rows) == len(parts)
    assert matrix.shape == (sum(result.rows), vectorizer.plan.width)
    assert result.decode_us >= 0
    for index, (given, made) in enumerate(zip(rows, result.rows, strict=True)):
        assert made == (0 if index in result.errors else given)
    assert set(result.errors) <= set(range(len(parts)))
    return result


def outcomes(vectorizer, messages):
    """The Outcome of each message, all in one batch."""
    counts = vectorizer.count(messages)
    assert len(counts) == len(messages)
    assert all(count >= 0 for count in counts)
    return cut(checked(vectorizer, messages, counts))


def cut(result):
    """The Outcome of each part of a Vectorized."""
    made, start = [], 0
    for index, rows in enumerate(result.rows):
        error = result.errors.get(index)
        made.append(Outcome(None if error else result.matrix[start : start + rows], error))
        start += rows
    return made


def check_outcome(vectorizer, message):
    """The error of `check`, as an Outcome without rows."""
    try:
        vectorizer.check(message)
    except UndecodableRequest as error:
        return Outcome(None, error)
    return Outcome(np.empty((0, 0), np.float32), None)


def smallest(message, differs, tries=4000):
    """A small message that still `differs`: pieces are taken out as long as it does."""
    size = max(1, len(message) // 2)
    while size and tries:
        at = 0
        while at < len(message) and tries:
            shorter = message[:at] + message[at + size :]
            tries -= 1
            if differs(shorter):
                message = shorter
            else:
                at += size
        size //= 2
    return message


def part_sizes(random, rows):
    """Sizes of parts that `rows` rows are read in; some may be 0."""
    sizes = []
    while rows:
        size = min(rows, random.choice((0, 1, 1, 2, 3, 100)))
        sizes.append(size)
        rows -= size
    if not sizes or random.random() < 0.2:
        sizes.append(0)
    return sizes


def in_parts(vectorizer, message, sizes):
    """The Outcome of a message that is read in parts of these sizes."""
    reading = vectorizer.begin(message)
    read = []
    for size in sizes:
        (part,) = cut(checked(vectorizer, [reading], [size]))
        if part.error is not None:
            (again,) = cut(checked(vectorizer, [reading], [size]))
            assert again.same(part), "a Reading that has failed gives its error again"
            return part
        read.append(part.matrix)
    return Outcome(np.concatenate(read), None)
