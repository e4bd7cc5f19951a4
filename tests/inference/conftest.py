"""Fakes of what inference stands between: a vectorizer, a model, calls, and the ways out."""

import dataclasses
import math

import numpy as np
import pytest
import trio
import trio.testing

from hushar.errors import InvalidRequest, UndecodableRequest
from hushar.features.vectorize import Reading, Vectorized
from hushar.inference.admission import BatcherLimits
from hushar.inference.answering import Answering
from hushar.inference.batcher import Batcher
from hushar.inference.scoring import Scorer
from hushar.models.runtime import Runtime, TensorSpec
from hushar.models.served import ServedModel
from hushar.proto import structs_pb2 as pb

UNDECODABLE = b"\x12\xff"


class OneColumn:
    """A vectorizer of its own: one column, the feature `x`. "bad" rows are refused, "ugly" ones fail it."""

    name, plan = "fake", None

    def __init__(self):
        self.checked = []
        self.counted = []

    def count(self, messages):
        counts = []
        for message in messages:
            try:
                counts.append(len(pb.InferenceRequest.FromString(message).inputs))
            except Exception:
                counts.append(len(message) - len(UNDECODABLE))
        return counts

    def check(self, message):
        self.checked.append(message)
        self._open(message)

    def _open(self, message):
        if message.startswith(UNDECODABLE):
            raise UndecodableRequest
        return pb.InferenceRequest.FromString(message)

    def begin(self, message):
        return Reading(message)

    def feature_counts(self):
        return {"x": (sum(self.counted), 0, 0)}

    def vectorize(self, parts, rows, counted=True):
        errors, counts, matrix = {}, [], []
        for index, (part, count) in enumerate(zip(parts, rows, strict=True)):
            try:
                values = self._read(part, count)
            except (UndecodableRequest, InvalidRequest) as error:
                errors[index] = error
                values = []
            counts.append(len(values))
            matrix += values
        if counted:
            self.counted.append(sum(counts))
        return Vectorized(np.array(matrix, np.float32).reshape(-1, 1), counts, errors, 0.0)

    def _read(self, part, count):
        first = 0
        if isinstance(part, Reading):
            first = part.row
            part.row += count
            part = part.message
        inputs = self._open(part).inputs[first : first + count]
        assert len(inputs) == count
        ids = [row.row_id for row in inputs]
        if "ugly" in ids:
            raise ZeroDivisionError("secret of the vectorizer")
        if "bad" in ids:
            raise InvalidRequest(f"feature 'x' of row 'bad' ({first + ids.index('bad')}): no")
        return [[row.features["x"].float_value] for row in inputs]


class Doubling(Runtime):
    """Scores are x and 2 x; -1 makes it raise, 13 forget a row, 99 answer with integers."""

    name, version, width, details = "doubling", "1", 1, {}
    inputs = outputs = (TensorSpec("x", "float32", (None, 1)),)
    output = outputs[0]

    def __init__(self):
        self.runs = []
        self.meanwhile = lambda: None

    def to_tensor(self, matrix):
        assert matrix.dtype == np.float32
        return ("tensor", matrix)

    def run(self, tensor):
        kind, matrix = tensor
        assert kind == "tensor"
        self.runs.append(matrix[:, 0].tolist())
        self.meanwhile()
        if (matrix < 0).any():
            raise RuntimeError("secret of the runtime")
        scores = np.hstack([matrix, matrix * 2])
        if (matrix == 13).any():
            return scores[:-1]
        return scores.astype(np.int64) if (matrix == 99).any() else scores


def message_of(*values, request_id="q", row_ids=None):
    """A serialized request with a row for each value."""
    ids = row_ids or [str(index) for index in range(len(values))]
    inputs = [
        pb.InputRow(row_id=row_id, features={"x": pb.DataType(float_value=value)})
        for row_id, value in zip(ids, values, strict=True)
    ]
    return pb.InferenceRequest(request_id=request_id, inputs=inputs).SerializeToString()


class FakeCall:
    def __init__(self, *values, request_id="q", row_ids=None, message=None, deadline=math.inf):
        made = message_of(*values, request_id=request_id, row_ids=row_ids)
        self.message = made if message is None else message
        self.over = False
        self.choked = False
        """Whether the transport refuses its answer: too many wait for the client."""
        self.deadline = deadline
        self.response = None
        self.error = None

    def reply(self, message):
        assert not self.over
        self.over = True
        if self.choked:
            return False
        self.response = pb.InferenceResponse.FromString(message)
        return True

    def fail(self, error):
        assert not self.over
        self.over = True
        self.error = error

    @property
    def done(self):
        return self.response is not None or self.error is not None

    @property
    def scores(self):
        return [row.scores[1] for row in self.response.outputs]


@dataclasses.dataclass
class Out:
    """Everything that leaves: given to Answering."""

    takes_log: bool = True
    metrics: list = dataclasses.field(default_factory=list)
    logged: list = dataclasses.field(default_factory=list)
    replied: list = dataclasses.field(default_factory=list)
    refused: list = dataclasses.field(default_factory=list)

    def refuse(self, calls, error):
        self.refused.append((len(calls), error))
        for call in calls:
            call.fail(error)

    def reply_all(self, calls, messages):
        self.replied.append(len(calls))
        pairs = enumerate(zip(calls, messages, strict=True))
        return tuple(at for at, (call, message) in pairs if call.over or not call.reply(message))

    def log(self, batch):
        self.logged.append(batch)
        return self.takes_log

    @property
    def failed(self):
        """What became of calls that failed, added up."""
        found = {}
        for metrics in self.metrics:
            for kind, calls in metrics.failed.items():
                found[kind] = found.get(kind, 0) + calls
        return found

    @property
    def answered(self):
        return sum(calls for metrics in self.metrics for _, calls in metrics.answered_us)

    def records(self):
        data = b"".join(record for batch in self.logged for record in batch.records)
        return pb.InferenceLogs.FromString(data).inferenceLogBatches


class Stage:
    """A scorer and a batcher on a fake model, with everything that leaves them kept."""

    def __init__(
        self,
        *,
        logged=False,
        takes_log=True,
        spooled=False,
        offload="never",
        concurrency=1,
        privacy=None,
        splice=None,
        outlet=None,
        drafting=None,
        **limits,
    ):
        """`outlet`: a log in the place of the one that keeps what it is given."""
        self.runtime = Doubling()
        self.vectorizer = OneColumn()
        self.out = Out(takes_log)
        model = ServedModel(self.runtime, "model", "v1")
        self.scorer = Scorer(self.vectorizer, model, logged=logged, privacy=privacy, splice=splice)
        answering = Answering(
            self.out.refuse,
            self.out.reply_all,
            self.out.metrics.append,
            (outlet or self.out.log) if logged else None,
            drafting,
            when_spooled=spooled,
        )
        limits = BatcherLimits(**{"max_rows": 100, "max_call_rows": 1000, **limits})
        self.batcher = Batcher(self.scorer, limits, answering, offload=offload, concurrency=concurrency)

    @property
    def sizes(self):
        """Rows of each run of the model."""
        return [len(run) for run in self.runtime.runs]

    def queue(self, *calls):
        """Submit calls as if a matrix were under way: they wait for `run`."""
        self.batcher._running += self.batcher._concurrency
        self.batcher.submit(calls)
        self.batcher._running -= self.batcher._concurrency

    async def rest(self):
        """Run the batcher until nothing moves any more."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.batcher.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    async def until(self, condition):
        """Run the batcher until something is so."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.batcher.run)
            while not condition():  # noqa: ASYNC110 - what it waits for has no event
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()


@pytest.fixture
def out():
    """Everything that leaves."""
    return Out()


@pytest.fixture
def make_stage():
    """make_stage(…): a Stage."""
    return Stage


@pytest.fixture
def call():
    """call(1.0, 2.0): a call with a row for each value."""
    return FakeCall


@pytest.fixture
def message():
    """message(1.0, 2.0): a serialized request with a row for each value."""
    return message_of
