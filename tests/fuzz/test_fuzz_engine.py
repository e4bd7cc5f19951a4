"""The fuzzer of scripts/fuzz_engine.py runs, for a moment, and finds what it is there to find."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "fuzz_engine.py"


@pytest.fixture(scope="module")
def fuzzer():
    spec = importlib.util.spec_from_file_location("hushar_fuzz_engine", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_nothing_but_answers_comes_out(fuzzer, caplog):
    caplog.set_level(logging.CRITICAL)
    frames, sessions = fuzzer.fuzz(10_000, seed=1)
    assert frames >= 10_000
    assert sessions > 10


def test_there_are_recorded_sessions(fuzzer):
    recorded = sorted(fuzzer.SESSIONS.glob("*.bin"))
    assert len(recorded) >= 6
    assert all(path.read_bytes().startswith(fuzzer.PREFACE) for path in recorded)


@pytest.mark.parametrize(
    ("output", "violation"),
    [
        ([(1, 5, 1, b""), (0, 0, 1, b"x")], "has ended"),
        ([(3, 0, 1, bytes(4)), (1, 4, 1, b"")], "has ended"),
        ([(0, 0, 1, bytes(16385))], "16384 allowed"),
        ([(0, 0, 1, bytes(16384))] * 4, "beyond a window"),
        ([(7, 0, 0, b"\0\0\0\0\0\0\0\2"), (6, 0, 0, bytes(8))], "after the GOAWAY"),
        ([(1, 0, 1, b""), (6, 0, 0, bytes(8))], "in pieces"),
    ],
)
def test_it_notices_output_that_breaks_the_rules(fuzzer, output, violation):
    with pytest.raises(fuzzer.Violation, match=violation):
        fuzzer.Peer().check(b"".join(fuzzer.frame(*each) for each in output))


def test_windows_are_what_the_client_has_said(fuzzer):
    peer = fuzzer.Peer()
    said = fuzzer.PREFACE + fuzzer.frame(4, 0, 0, b"\0\4\0\0\0\5") + fuzzer.frame(8, 0, 1, b"\0\0\0\1")
    for byte in said:
        peer.grant(bytes((byte,)), 16384)
    peer.check(b"")
    peer.check(fuzzer.frame(0, 0, 1, bytes(6)))
    with pytest.raises(fuzzer.Violation):
        peer.check(fuzzer.frame(0, 0, 1, b"x"))


def test_half_a_frame_is_noticed(fuzzer):
    with pytest.raises(fuzzer.Violation, match="half a frame"):
        fuzzer.Peer().check(fuzzer.frame(0, 0, 1, b"abc")[:-1])


def test_a_failing_session_says_its_seed(fuzzer, monkeypatch):
    monkeypatch.setattr(fuzzer.Session, "_end", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        fuzzer.fuzz(1, seed=7)
    assert caught.value.__notes__ == ["in the session of seed 7"]
