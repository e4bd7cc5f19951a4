"""What transport.py sends is what it says, and what it reports follows from what it measured."""

import itertools

import hpack


def headers(frames):
    """The decoded header blocks of requests in order."""
    decoder = hpack.Decoder()
    for request in frames:
        size = int.from_bytes(request[:3], "big")
        yield dict(decoder.decode(request[9 : 9 + size]))


def test_varied_requests_differ_in_timeout_and_trace_only(module):
    made = module("raw_client").requests("/a.B/C", "localhost:1", varied=True)
    found = list(headers(itertools.islice(made, 200)))
    varying = {"grpc-timeout", "traceparent"}
    for name in varying:
        assert len({fields[name] for fields in found}) == 200
    assert len({tuple((k, v) for k, v in fields.items() if k not in varying) for fields in found}) == 1


def test_other_requests_are_all_alike_and_short(module):
    made = list(itertools.islice(module("raw_client").requests("/a.B/C", "localhost:1", varied=False), 10))
    assert len({tuple(fields.items()) for fields in headers(made)}) == 1
    assert {len(request) for request in made[1:]} == {9 + 9 + 9 + 15}


def test_answers_are_counted_however_they_are_cut(module):
    raw_client = module("raw_client")
    answer = b"".join(
        [
            raw_client.frame(4, 0, 0, b"\0" * 6),
            raw_client.frame(1, 4, 1, b"\x88"),
            raw_client.frame(0, 0, 1, b"\0\0\0\0\0"),
            raw_client.frame(1, 5, 1, b"\x88"),
        ]
    )
    for size in range(1, len(answer) + 1):
        answers = raw_client.Answers()
        ended = sum(answers.feed((answer * 3)[at : at + size]) for at in range(0, 3 * len(answer), size))
        assert (ended, answers.count) == (3, 3)
        assert answers.replies == [raw_client.frame(4, 1, 0)] * 3


def test_floors_are_held_against_medians(module):
    report = module("transport_report")
    figures = {
        "W1 4x25": {"hushar serve": [10.0, 160.0, 1000.0], "purerpc": [10.0, 10.0, 10.0]},
        "latency": {"ours, raw": [50.0], "grpc.aio": [100.0]},
        "idle memory": {"ours, raw": [12.0]},
    }
    found = {ratio["floor"]: (ratio["reached"], ratio["holds"]) for ratio in report.ratios(figures)}
    assert found == {
        "W1 4x25: hushar serve ÷ purerpc ≥ 15": (16.0, True),
        "latency: ours, raw ÷ grpc.aio ≤ 0.4": (0.5, False),
        "idle memory: ours, raw ≤ 50": (12.0, True),
    }


def test_the_page_has_floors_figures_and_the_machine(module):
    report = module("transport_report")
    figures = {
        "echo 4x25": {"ours, raw": [30.0], "purerpc": [1.0]},
        "echo 4x25, CPU": {"ours, raw": [7.0], "purerpc": [224.0]},
    }
    found = report.document(figures, seconds=5, rounds=3, idle=10_000)
    page = report.markdown(found, picture="transport.svg")
    assert "| echo 4x25: ours, raw ÷ purerpc ≥ 25 | 30 | 32 | holds |" in page
    assert "| purerpc | 1 | 1 |" in page
    assert "CPU time a call" in page
    assert module("machine").cpu() in page
    assert "![Calls per second of each server](transport.svg)" in page
