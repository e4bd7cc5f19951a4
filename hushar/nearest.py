"""Which known name somebody may have meant."""

import difflib
from collections.abc import Iterable, Sequence

LIKELY = 0.6
"""difflib's own cutoff: good where the candidates are few and of one kind."""
VERY_LIKELY = 0.75
"""For candidates of every kind, where a chance likeness is more probable."""


def normalized(name: str) -> str:
    """`name` without the differences that people make by accident: case, `-` for `_`, blanks."""
    return name.strip().lower().replace("-", "_")


def nearest(name: str, candidates: Iterable[str], cutoff: float = LIKELY) -> str | None:
    """The candidate most like `name`, or None if none is at least `cutoff` (0–1) like it."""
    by_form = {normalized(candidate): candidate for candidate in candidates}
    found = difflib.get_close_matches(normalized(name), by_form, n=1, cutoff=cutoff)
    return by_form[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """The end of a message about an unknown name: `, did you mean 'x'?`; empty if nothing is like it."""
    close = nearest(name, candidates)
    return proposal([close] if close is not None else [])


def proposal(names: Sequence[str]) -> str:
    """The end of a message that proposes names: `, did you mean 'a' or 'b'?`; empty for none."""
    if not names:
        return ""
    return ", did you mean " + " or ".join(f"'{name}'" for name in names) + "?"
