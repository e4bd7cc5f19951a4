from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hushar.drafts import Draft
from hushar.features.results import Layout
from hushar.inference.splice import Logged, Part, Spliced

def spliced_part(
    message: bytes,
    at: int,
    rows: int,
    scores: NDArray[np.float32],
    logged: bool,
    layout: Layout | None = None,
    /,
) -> Part: ...
def spliced(
    messages: Sequence[bytes],
    rows: Sequence[int],
    scores: NDArray[np.float32],
    log: Logged | None,
    draft: Draft | None = None,
    layout: Layout | None = None,
) -> Spliced: ...
