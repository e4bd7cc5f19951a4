"""`hashing`: a place among n buckets for every string or integer, without a list of categories."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictInt

from hushar.plugins import STRINGS, Column, Element, Transformation, TransformationParameters, Transformed
from hushar_transforms.murmur3 import murmur3_32, murmur3_32_of_int64

MAX_BUCKETS = 1 << 20
"""A matrix of more columns for one feature is a mistake, not a model."""


class HashingParameters(TransformationParameters):
    """Parameters of `hashing`."""

    buckets: Annotated[StrictInt, Field(ge=1, le=MAX_BUCKETS)]
    seed: Annotated[StrictInt, Field(ge=0, lt=1 << 32)] = 0
    signed: StrictBool = False
    """Write -1 instead of 1 where the hash is negative: collisions cancel out on average."""


class Hashing(Transformation):
    """Among `buckets` zeros, a 1 at `|h| mod buckets`; with `signed`, -1 there where `h < 0`.

    h is MurmurHash3_x86_32 with `seed`, taken as a signed 32-bit integer: of a string's UTF-8, of an
    integer's eight bytes (two's complement, least significant first; the same for both kinds). With
    seed 0 that is the column and sign of scikit-learn's `FeatureHasher(buckets, input_type="string",
    alternate_sign=signed)`.
    """

    Parameters = HashingParameters
    accepts = STRINGS | {Element.INTEGER, Element.LONG}
    parameters: HashingParameters

    @property
    def unit(self) -> int:
        """As many as there are buckets."""
        return self.parameters.buckets

    def transform(self, column: Column) -> Transformed:
        """Unit `buckets`."""
        hashes = self._hashes(column).view(np.int32).astype(np.int64)
        values = np.zeros((len(hashes), self.unit), np.float32)
        ones = (
            np.where(hashes < 0, np.float32(-1), np.float32(1)) if self.parameters.signed else np.float32(1)
        )
        values[np.arange(len(hashes)), np.abs(hashes) % self.unit] = ones
        return Transformed(values)

    def _hashes(self, column: Column) -> NDArray[np.uint32]:
        seed = self.parameters.seed
        if column.element is not Element.STRING:
            return murmur3_32_of_int64(column.values.astype(np.int64), seed)
        # The wire has no lone surrogates; where a caller does, they are hashed as any other character.
        encoded = (text.encode("utf-8", "surrogatepass") for text in column.values)
        return np.fromiter((murmur3_32(data, seed) for data in encoded), np.uint32, len(column.values))
