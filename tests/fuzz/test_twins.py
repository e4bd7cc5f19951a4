"""The compiled engine does in every session of the fuzzer what the readable one does."""

import importlib.util
import logging
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
SESSIONS = 60


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def twins():
    return load(TESTS / "rpc" / "twins.py", "hushar_tests_twins")


@pytest.fixture(scope="module")
def fuzzers(twins):
    """The fuzzer with the compiled engine, and with the readable one."""
    if not twins.is_compiled():
        pytest.skip(twins.NEEDS)
    script = TESTS.parent / "scripts" / "fuzz_engine.py"
    compiled = load(script, "hushar_fuzz_compiled")
    with twins.without_compiled():
        readable = load(script, "hushar_fuzz_readable")
    assert compiled.RawCall is not readable.RawCall
    return compiled, readable


def told_by(fuzzer, twins, seed):
    """What a session did: events, output and state after every read and whenever output was taken."""
    recorded = [path.read_bytes() for path in sorted(fuzzer.SESSIONS.glob("*.bin"))]
    session = fuzzer.Session(seed, recorded)
    engine = session.engine
    told = []

    def receiving(data, now, receive=engine.receive_data):
        events = receive(data, now)
        calls = [twins.call_state(call) for call in session.calls[-20:]]
        told.append((data, twins.plain(events), calls, twins.state_of(engine)))
        return events

    def taking(take=engine.data_to_send):
        output = take()
        told.append((output, twins.state_of(engine)))
        return output

    engine.receive_data = receiving
    engine.data_to_send = taking
    session.run()
    return told


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 1001, 2001])
def test_every_session_is_the_same_in_both_ways(fuzzers, twins, caplog, first):
    caplog.set_level(logging.CRITICAL)
    for seed in range(first, first + SESSIONS // 3):
        compiled, readable = (told_by(fuzzer, twins, seed) for fuzzer in fuzzers)
        for step, (one, other) in enumerate(zip(compiled, readable, strict=True)):
            assert one == other, f"seed {seed}, step {step}"
