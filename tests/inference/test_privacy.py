"""Whichever way a call goes, its record holds nothing that it must not, and its answer is what it was.

What is made of the bytes of a request: tests/kernel/test_privacy.py.
"""

import hashlib
import hmac

import pytest

from hushar.inference import privacy
from hushar.inference.privacy import Privacy
from hushar.proto import structs_pb2 as pb

SECRET = "4917 4845 8989 7107"
KEY = b"the key"


@pytest.fixture(params=["readable", "compiled"])
def make(request):
    """make(exclude, hashed): a Privacy, each implementation."""
    if request.param == "compiled" and privacy._privacy is None:
        pytest.skip(
            "needs tool: a C compiler when hushar is installed (pip install --force-reinstall hushar)"
        )
    return lambda exclude, hashed: Privacy(exclude, hashed, KEY, readable=request.param == "readable")


def message(*values, request_id="q"):
    """A row for each value, with a secret in features that the model does not know."""
    inputs = [
        pb.InputRow(
            row_id=str(index),
            features={
                "x": pb.DataType(float_value=value),
                "card": pb.DataType(string_value=SECRET),
                "card_before": pb.DataType(string_array=pb.StringArray(values=[SECRET])),
                "town": pb.DataType(string_value="Delft"),
            },
        )
        for index, value in enumerate(values)
    ]
    return pb.InferenceRequest(request_id=request_id, inputs=inputs).SerializeToString()


def hashed(value):
    return hmac.new(KEY, value.SerializeToString(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 40], ids=["one row", "some", "in slices"])
async def test_no_record_holds_what_it_must_not(make_stage, call, make, rows, spooled):
    values = [float(value) for value in range(100, 100 + rows)]
    plain = make_stage(logged=True, max_rows=7, spooled=spooled)
    private = make_stage(logged=True, max_rows=7, spooled=spooled, privacy=make(["card_*"], ["card", "town"]))
    answers = []
    for stage in (plain, private):
        calls = [call(message=message(*values, request_id=str(number))) for number in range(3)]
        stage.batcher.submit(calls)
        await stage.rest()
        if spooled:
            for batch in stage.out.logged:
                batch.spooled()
        answers.append([each.response for each in calls])
    assert answers[0] == answers[1]
    assert SECRET.encode() in b"".join(record for batch in plain.out.logged for record in batch.records)
    assert SECRET.encode() not in b"".join(record for batch in private.out.logged for record in batch.records)
    for before, after in zip(plain.out.records(), private.out.records(), strict=True):
        assert before.request_id == after.request_id
        assert before.received_unix_micros > 0
        for old, new in zip(before.inference_log_rows, after.inference_log_rows, strict=True):
            assert (old.row_id, list(old.scores)) == (new.row_id, list(new.scores))
            assert set(new.features) == {"x", "card", "town"}
            assert new.features["x"] == old.features["x"]
            for name in ("card", "town"):
                assert new.features[name].string_value == hashed(old.features[name])


async def test_nor_does_one_of_a_call_whose_neighbour_fails(make_stage, call, make, caplog):
    stage = make_stage(logged=True, privacy=make(["card*"], []))
    calls = [call(message=message(value)) for value in (1.0, -1.0, 3.0)]
    stage.batcher.submit(calls)
    await stage.rest()
    assert [each.error is None for each in calls] == [True, False, True]
    assert len(stage.out.records()) == 2
    assert SECRET not in str(stage.out.records())


async def test_what_cannot_be_made_private_is_not_logged_and_not_answered(make_stage, call, make, caplog):
    """It is no request that decodes, so this cannot be; but if it were, nothing may leak."""
    given = make(["card*"], [])
    stage = make_stage(logged=True, privacy=given)

    class Broken:
        def in_request(self, message):
            if b"broken" in message:
                raise ValueError("no")
            return given.in_request(message)

    stage.scorer._privacy = Broken()
    calls = [call(message=message(1.0, request_id=each)) for each in ("broken", "whole")]
    stage.batcher.submit(calls)
    await stage.rest()
    assert [each.error is None for each in calls] == [False, True]
    assert [batch.request_id for batch in stage.out.records()] == ["whole"]
    assert SECRET not in caplog.text


def test_without_a_log_nothing_is_looked_at(make_stage, make):
    assert make_stage(logged=False, privacy=make(["*"], [])).scorer._privacy is None
