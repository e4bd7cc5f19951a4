#!/usr/bin/env python3
"""Feed the kernel with requests, right and wrong, and see that it says what the reference says.

For each message, whatever its bytes:

- the kernel and the reference give the same rows bit for bit (a NaN is a NaN), or the same error in
  the same words, whether the message is vectorized whole, in parts, or alone;
- what decodes is what protobuf's C library decodes, one level deeper than it came (CONTRACT.md 1);
- both count the same features as missing, unknown and unparsable;
- `count` is the number of rows of what decodes, `check` raises for the rest;
- of some messages: what CONTRACT.md 2 says by itself (tests/kernel/kernelkit/oracle.py);
- the responses and log records of what decodes are those of the readable splice, and the records are the same
  where they are spliced into a draft of the log, around which nothing else is written;
- they are the same with what the kernel says of where rows and ids are, and without;
- what of it may be logged is what protobuf finds (tests/kernel/kernelkit/privacy.py).

A round is one random configuration and some hundred messages for it: generated ones, and damaged copies.
It is named by its seed, so that a failure can be repeated: `fuzz_kernel.py --seed N --messages 1`.
`--kernel-only` runs nothing but compiled code, much faster: for crashes, with the sanitizers.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kernel"))

from kernelkit import counting, layouts, mutation, oracle, plans, privacy, requests, running, schema, splicing

from hushar.errors import InvalidRequest, RequestError
from hushar.features.counts import Counts
from hushar.features.vectorize import Vectorizer, kernel_problem, make_vectorizer

GENERATED: Final = 40
"""Messages of a round that are made from nothing."""
DAMAGED: Final = 160
"""Messages of a round that are damaged copies of those."""
DAMAGED_ALONE: Final = 1000
"""The same where only the kernel is run, which takes less time than making a message."""
BY_ORACLE: Final = 10
"""Messages of a round that the slow oracle looks at too."""
LARGEST_SHOWN: Final = 4000
"""Bytes of a configuration that a difference shows."""


class Difference(Exception):
    """The kernel is not what it should be; the text has all that is needed to see it again."""


class Round:
    """One configuration and its messages."""

    def __init__(self, seed: int, *, kernel_only: bool, kernel: str = "cython") -> None:
        self.rng = rng = random.Random(seed)  # noqa: S311
        self.seed = seed
        self.setup = plans.setup(rng)
        self.kernel_only = kernel_only
        self.kernel: Vectorizer = make_vectorizer(self.setup.plan, kernel)
        self.reference: Vectorizer = make_vectorizer(self.setup.plan, "reference")
        generated = [requests.any_request(rng, self.setup) for _ in range(GENERATED)]
        self.messages = generated + [
            mutation.mutated(rng, rng.choice(generated), rng.choice(generated))
            for _ in range(DAMAGED_ALONE if kernel_only else DAMAGED)
        ]
        rng.shuffle(self.messages)

    def run(self) -> Counter[str]:
        """What became of the messages. Raises Difference."""
        made = self._whole()
        self._in_parts(made)
        self._one_by_one(made)
        self._spliced([message for message, each in zip(self.messages, made, strict=True) if not each.error])
        return Counter(type(each.error).__name__ if each.error else "rows" for each in made)

    def _whole(self) -> list[running.Outcome]:
        """Vectorize all in one batch, and hold the result against the reference's."""
        made = running.outcomes(self.kernel, self.messages)
        counted = self.kernel.feature_counts()
        if self.kernel_only:
            return made
        for message, ours, theirs in zip(
            self.messages, made, running.outcomes(self.reference, self.messages), strict=True
        ):
            if not ours.same(theirs):
                self._differ(message)
        if counted != self.reference.feature_counts():
            raise self._miscounted(counted)
        for message, ours in list(zip(self.messages, made, strict=True))[:BY_ORACLE]:
            if not ours.agrees(oracle.expected(self.setup.configuration, message)):
                raise self._difference("the oracle", message, ours)
        return made

    def _miscounted(self, counted: Counts) -> Difference:
        """The Difference of features that are counted otherwise: by a message that is, if one alone is."""
        for message in self.messages:
            ours, theirs = [
                self._counted_alone(name, message) for name in (self.kernel.name, self.reference.name)
            ]
            if ours != theirs:
                wanted = counting.expected(self.setup.configuration, [message])
                text = f"message: {message.hex()}\nreference: {theirs}\noracle: {wanted}"
                return Difference(f"seed {self.seed}: the kernel counts {ours}\n{text}")
        theirs = self.reference.feature_counts()
        return Difference(f"seed {self.seed}: the kernel counts {counted}\nreference: {theirs}")

    def _counted_alone(self, kernel: str, message: bytes) -> Counts:
        vectorizer = make_vectorizer(self.setup.plan, kernel)
        running.outcomes(vectorizer, [message])
        return vectorizer.feature_counts()

    def _in_parts(self, made: list[running.Outcome]) -> None:
        """Read the messages in parts of any sizes: joined, they are the whole."""
        for message, whole in list(zip(self.messages, made, strict=True))[::4]:
            sizes = running.part_sizes(self.rng, self.kernel.count([message])[0])
            joined = running.in_parts(self.kernel, message, sizes)
            if not joined.same(whole):
                raise self._difference(f"the whole, read in parts of {sizes} rows", message, joined, whole)

    def _one_by_one(self, made: list[running.Outcome]) -> None:
        """`count` and `check`, which see a message alone."""
        counts = self.kernel.count(self.messages)
        for message, whole, count in zip(self.messages, made, counts, strict=True):
            undecodable = whole.error is not None and not isinstance(whole.error, InvalidRequest)
            checked = running.check_outcome(self.kernel, message)
            if (checked.error is not None) != undecodable:
                raise self._difference("vectorize, by `check`", message, checked, whole)
            if self.kernel_only:
                continue
            request = schema.decoded(message)
            if (request is None) != undecodable:
                raise self._difference("protobuf, which decodes it or not otherwise", message, whole)
            if request is not None and len(request.inputs) != count:
                raise Difference(f"count is {count}, rows are {len(request.inputs)}: {message.hex()}")

    def _spliced(self, messages: list[bytes]) -> None:
        """Responses and log records, as bytes and in drafts, and by what the kernel says of where all is."""
        problem = splicing.problem(self.rng, messages, readable=not self.kernel_only)
        problem = problem or layouts.problem(self.rng, self.kernel, messages)
        if self.kernel_only:
            privacy.run(self.rng, self.setup.order, self.messages)
        elif problem is None:
            problem = privacy.problem(self.rng, messages)
        if problem is not None:
            raise Difference(f"seed {self.seed}: {problem}")

    def _differ(self, message: bytes) -> None:
        """Raise the Difference from the reference, with the message made small."""

        def differs(shorter: bytes) -> bool:
            return not self._alone(self.kernel, shorter).same(self._alone(self.reference, shorter))

        if not differs(message):
            raise self._difference("itself alone: it differs among others only", message, None)
        small = running.smallest(message, differs)
        raise self._difference(
            "the reference", small, self._alone(self.kernel, small), self._alone(self.reference, small)
        )

    @staticmethod
    def _alone(vectorizer: Vectorizer, message: bytes) -> running.Outcome:
        try:
            return running.outcomes(vectorizer, [message])[0]
        except (AssertionError, ValueError, RequestError) as error:
            return running.Outcome(None, error)

    def _difference(self, other: str, message: bytes, got: Any, expected: Any = None) -> Difference:
        shown = json.dumps(self.setup.configuration)
        if len(shown) > LARGEST_SHOWN:
            shown = shown[:LARGEST_SHOWN] + "…"
        if expected is None:
            expected = oracle.expected(self.setup.configuration, message)
        return Difference(
            f"the kernel is not {other}\nseed: {self.seed}\nconfiguration: {shown}\n"
            f"message: {message.hex()}\ngot: {got}\nexpected: {expected}"
        )


def fuzz(messages: int, seed: int, *, kernel_only: bool = False, kernel: str = "cython") -> Counter[str]:
    """Run rounds until so many messages were fed; what became of them. Raises what a round raises."""
    became: Counter[str] = Counter()
    rounds = 0
    while became.total() < messages:
        try:
            became += Round(seed + rounds, kernel_only=kernel_only, kernel=kernel).run()
        except Exception as error:
            error.add_note(f"in the round of seed {seed + rounds}")
            raise
        rounds += 1
    return became


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, and say what was fed; the exit status is 1 for a difference, 2 where there is no kernel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: %(default)s)")
    parser.add_argument("--kernel-only", action="store_true", help="nothing but compiled code: for crashes")
    options = parser.parse_args(arguments)
    missing = kernel_problem("cython")
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2
    begun = time.monotonic()
    try:
        became = fuzz(options.messages, options.seed, kernel_only=options.kernel_only)
    except Difference as difference:
        print(difference)
        return 1
    seconds = time.monotonic() - begun
    counts = ", ".join(f"{count} {what}" for what, count in became.most_common())
    print(f"{became.total()} messages, {seconds:.0f} s: {counts}; no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
