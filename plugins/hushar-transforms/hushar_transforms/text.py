"""`text_length`: how long a string is."""

from typing import Literal

import numpy as np

from hushar.plugins import STRINGS, Column, Transformation, TransformationParameters, Transformed


class TextLengthParameters(TransformationParameters):
    """Parameters of `text_length`."""

    measure: Literal["characters", "bytes", "words"] = "characters"


class TextLength(Transformation):
    """The number of Unicode code points; of bytes in UTF-8; or of words: runs of non-white-space.

    White space is Unicode's, as `str.split()` knows it. Exact up to 2**24, as float32 is.
    """

    Parameters = TextLengthParameters
    accepts = STRINGS
    parameters: TextLengthParameters

    def transform(self, column: Column) -> Transformed:
        """Unit 1."""
        texts = column.values
        if self.parameters.measure == "characters":
            lengths = (len(text) for text in texts)
        elif self.parameters.measure == "bytes":
            lengths = (len(text.encode("utf-8", "surrogatepass")) for text in texts)
        else:
            lengths = (len(text.split()) for text in texts)
        return Transformed(np.fromiter(lengths, np.float32, len(texts))[:, None])
