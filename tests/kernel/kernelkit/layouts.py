"""What the kernel says of where rows and ids are: with it, splices must be those that look for themselves."""

import numpy as np

from hushar.inference import splice
from hushar.records import own_bytes
from kernelkit.running import part_sizes
from kernelkit.splicing import logged, scores_for

INTEGERS_OF_A_ROW, INTEGERS_OF_A_HEAD = 5, 4


def without(implementation):
    """The same implementation, which is told no layout."""

    def whole(messages, rows, scores, log, draft=None, layout=None):
        return implementation.whole(messages, rows, scores, log, draft)

    def part(message, at, rows, scores, is_logged, layout=None):
        return implementation.part(message, at, rows, scores, is_logged)

    return splice.Splice(whole, part)


def joined(vectorizer, implementation, messages, large, sizes, scores, log):
    """Splices as the server makes them: slices of the large message, beside the others with the first one.

    `scores`: of the others' rows and then the large one's. Gives what was made, and how many of the layouts
    were known.
    """
    reading = vectorizer.begin(large)
    slices = splice.Slices(large, implementation, logged=log is not None)
    made, known = [], 0
    own_log = log and splice.Logged(log.model_id, log.model_version, log.received[: len(messages)])
    for size in sizes:
        counts = vectorizer.count(messages)
        found = vectorizer.vectorize([*messages, reading], [*counts, size])
        assert not found.errors
        known += found.layout is not None
        if messages:
            own, scores = scores[: sum(counts)], scores[sum(counts) :]
            responses, pieces = implementation.whole(messages, counts, own, own_log, None, found.layout)
            made += [*responses, *own_bytes(pieces)]
        slices.add(scores[:size], found.layout)
        scores = scores[size:]
        messages = []
    last = log and splice.Logged(log.model_id, log.model_version, log.received[-1:])
    (response,), records = slices.finish(last)
    return [*made, response, *records], known


def problem(random, vectorizer, messages):
    """What is wrong with splices by the vectorizer's layouts, or None. `messages`: that it takes."""
    implementation = splice.choose(vectorizer.name)
    if implementation is splice.READABLE:
        # It looks for itself.
        return None
    left = list(messages)
    while left:
        count = random.choice((1, 1, 2, 3, 6))
        (large, *beside), left = left[:count], left[count:]
        sizes = [size for size in part_sizes(random, vectorizer.count([large])[0]) if size] or [0]
        log = random.choice((None, logged(random, [*beside, large])))
        columns, rows = random.choice((0, 1, 3)), sum(vectorizer.count([*beside, large]))
        scores = scores_for(random, rows, columns)
        made, _ = joined(vectorizer, implementation, beside, large, sizes, scores, log)
        expected, _ = joined(vectorizer, without(implementation), beside, large, sizes, scores, log)
        if made != expected:
            shown = [message.hex() for message in (*beside, large)]
            return f"with a layout, in slices of {sizes}: {shown}\n{made}\nwithout: {expected}"
    return None


def damaged(random, layout):
    """The layout with some of its numbers changed, or cut."""
    arrays = [np.frombuffer(each, np.int64).copy() for each in layout]
    for array in arrays:
        for _ in range(random.choice((0, 1, 1, 3))):
            if array.size:
                number = random.choice((-1, 0, 1, 2**31, 2**62, -(2**63), 2**63 - 1, random.randint(-9, 99)))
                array[random.randrange(array.size)] = number
    rows, heads = (array.tobytes() for array in arrays)
    if random.random() < 0.2:
        rows = rows[: random.randint(0, len(rows))]
    if random.random() < 0.2:
        heads = heads[: random.randint(0, len(heads))]
    return rows, heads
