"""What is known of the servers that are compared: their metrics, their command lines, what is missing."""

import json


def interval(distributions, counters):
    return json.dumps({"metrics": "HusharService", "distributions": distributions, "counters": counters})


def test_the_metrics_of_all_intervals_are_summed_up(module):
    said = "\n".join(
        [
            "listening on 127.0.0.1:1",
            interval(
                {"DecodeTime": {"mean": 10.0, "count": 1}}, {"Requests": {"OK": 5, "INTERNAL": 1}, "Rows": 5}
            ),
            "a warning",
            interval({"DecodeTime": {"mean": 20.0, "count": 3}}, {"Requests": {"OK": 7}, "Rows": 7}),
        ]
    )
    found = module("serve_and_load").server_metrics(said)
    assert found.means == {"DecodeTime": 17.5}
    assert found.count("Requests", "OK") == 12
    assert found.count("Requests") == 13
    assert found.count("Rows") == 12
    assert found.count("LogRecordsDropped") == 0


def test_without_cargo_there_is_no_tonic_server_and_it_is_said(module, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert module("serve_and_load").build_tonic() == "no tonic server: Rust's cargo is not installed"


def test_hushar_is_compared_as_it_is_configured_by_default(module, tmp_path):
    serve_and_load = module("serve_and_load")
    known = serve_and_load.commands(tmp_path / "service.json", log=tmp_path / "log")
    serve = known[serve_and_load.HUSHAR]
    assert "--set" not in serve
    assert known[serve_and_load.REFERENCE] == ["env", "HUSHAR_KERNEL=reference", *serve]
    assert known[serve_and_load.LOGGING] == [*serve, "--log-uri", str(tmp_path / "log")]
