import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import hpack
import pytest

from hushar.cli import benching
from hushar.cli.bench import command
from hushar.cli.configured import demo_directory

DEMO = str(demo_directory() / "vectorization.json")
ROWS = str(demo_directory() / "rows.json")
SHORT = ("--seconds", "0.3", "--warmup-seconds", "0.05")


@pytest.fixture
def closed_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"row_id": "r", "features": {"a": {"flot": 1}}}')
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "broken.json").write_text(
        '{"feature_transformations": {"a": {"type": "min_max_scaling32", "min": 2, "max": 1,'
        ' "default_val": [0]}}, "feature_order": ["a"]}'
    )
    return tmp_path


CONFIG = ("--config", DEMO)
RATE = ("--rate", "10")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'ADDRESS'"),
        (["h:1", *RATE], "give rows: --config, --json or --log"),
        (["h:1", *CONFIG], "give one of --rate, --concurrency and --sweep"),
        (["h:1", *CONFIG, *RATE, "--concurrency", "1"], "give one of --rate, --concurrency and --sweep"),
        (["h:1", *CONFIG, "--sweep"], "--sweep needs --max-p99-seconds"),
        (["h:1", *CONFIG, "--sweep", "--concurrency", "1"], "--sweep has a rate, not a --concurrency"),
        (["h", *CONFIG, *RATE], "ADDRESS: 'h' is not an address: expected HOST:PORT"),
        (["h:1", *CONFIG, *RATE, "--admin", "x"], "--admin: 'x' is not an address"),
        (["h:1", *CONFIG, *RATE, "extra"], "unexpected argument 'extra'"),
        (["h:1", *CONFIG, *RATE, "--log", "x"], "give one of --config, --json and --log"),
        (["h:1", "--json", ROWS, "--log", "x", *RATE], "give one of --config, --json and --log"),
        (["h:1", *CONFIG, "--rate", "0"], "--rate"),
        (["h:1", *CONFIG, "--rate", "nan"], "'nan' is not a finite number"),
        (["h:1", *CONFIG, "--rate", "inf"], "inf is not in the range"),
        (["h:1", *CONFIG, *RATE, "--timeout-seconds", "inf"], "'inf' is not a finite number"),
        (
            ["h:1", *CONFIG, "--rate", "1e12"],
            "Invalid value for '--rate': 1000000000000.0 is not in the range",
        ),
        (["h:1", *CONFIG, "--concurrency", "0"], "--concurrency"),
        (
            ["h:1", *CONFIG, "--concurrency", "1000001"],
            "Invalid value for '--concurrency': 1000001 is not in",
        ),
        (["h:1", *CONFIG, *RATE, "--seconds", "1e300"], "Invalid value for '--seconds': 1e+300 is not in"),
        (["h:1", *CONFIG, *RATE, "--warmup-seconds", "1e9"], "Invalid value for '--warmup-seconds'"),
        (["h:1", *CONFIG, *RATE, "--seconds", "0"], "--seconds"),
        (["h:1", *CONFIG, *RATE, "--warmup-seconds", "-1"], "--warmup-seconds"),
        (["h:1", *CONFIG, *RATE, "--connections", "0"], "--connections"),
        (["h:1", *CONFIG, *RATE, "--rows", "0"], "--rows"),
        (["h:1", *CONFIG, *RATE, "--timeout-seconds", "0"], "--timeout-seconds"),
        (["h:1", *CONFIG, *RATE, "--max-error-rate", "1.5"], "--max-error-rate"),
        (
            ["h:1", *CONFIG, *RATE, "--output", "report.txt"],
            "--output: 'report.txt': expected a name in .json",
        ),
        (
            ["h:1", *CONFIG, *RATE, "--output", "no/r.json"],
            "--output: 'no/r.json' cannot be written: No such",
        ),
        (["h:1", "--config", "absent.json", *RATE], "absent.json: cannot be read: No such file"),
        (["h:1", "--config", "broken.json", *RATE], "broken.json: feature_transformations.a"),
        (["h:1", "--json", "absent.json", *RATE], "absent.json: cannot be read: No such file"),
        (["h:1", "--json", "bad.json", *RATE], "bad.json: row 0: row 'r': feature 'a': unknown key 'flot'"),
        (["h:1", "--json", "empty.json", *RATE], "empty.json: there are no rows"),
        (["h:1", "--log", "absent", *RATE], "absent: No such file"),
        (["h:1", "--log", ".", "absent", *RATE], "absent: No such file"),
        (["h:1", *CONFIG, *RATE, "--ca", "absent.pem"], "absent.pem: no certificates can be read"),
        (["h:1", *CONFIG, *RATE, "--token-file", "absent"], "absent: cannot be read"),
        (["h:1", *CONFIG, *RATE, "--token-file", "bad.json"], "bad.json: a token is printable ASCII"),
        (["h:1", *CONFIG, *RATE, "--token-file", "empty"], "empty: holds no token"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(hushar, folder, arguments, message):
    (folder / "empty").write_text("# none\n")
    done = hushar("bench", *arguments)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_no_server_is_status_1_and_leaves_no_report(hushar, folder, closed_port):
    done = hushar("bench", f"127.0.0.1:{closed_port}", *CONFIG, *RATE, *SHORT, "--output", "r.json")
    assert done.status == 1
    assert done.err.startswith("UNAVAILABLE: cannot connect to ")
    assert len(done.err.splitlines()) == 1
    assert not (folder / "r.json").exists()


def test_the_load_is_to_leave_on_time(hushar, folder, closed_port, monkeypatch):
    asked = []
    monkeypatch.setattr(benching, "ask_for_short_slices", lambda: asked.append(threading.current_thread()))
    hushar("bench", f"127.0.0.1:{closed_port}", *CONFIG, *RATE, *SHORT)
    assert asked == [threading.main_thread()]


def test_a_token_and_a_time_out_go_along_with_every_call(hushar, folder, monkeypatch):
    given = []
    monkeypatch.setattr(benching, "run", lambda setup, load, outputs, tell: given.append((setup, load)) or 0)
    (folder / "token").write_text("# ours\nsecret-token\n")
    arguments = ("--sweep", "--max-p99-seconds", "1", "--timeout-seconds", "2.5", "--token-file", "token")
    assert hushar("bench", "localhost:1", "--json", ROWS, *arguments, "--tls").status == 0
    [(setup, load)] = given
    assert load == 100.0
    assert {call.block for call in setup.calls} == {setup.calls[0].block}
    fields = dict(hpack.Decoder().decode(setup.calls[0].block))
    assert fields["authorization"] == "Bearer secret-token"
    assert fields["grpc-timeout"] == "2500000u"
    assert fields[":scheme"] == "https"
    assert fields[":path"] == "/hushar.Hushar/InferenceService"
    assert setup.target.ssl_context is not None
    assert setup.bounds.max_p99_seconds == 1


def test_every_option_has_a_help(hushar):
    text = hushar("bench", "--help").out
    for option in command.params:
        for name in option.opts:
            assert not name.startswith("--") or name in text


class Served:
    def __init__(self, process, port):
        self.process = process
        self.address = f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """`hushar serve --demo`, logging."""
    home = tmp_path_factory.mktemp("served")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HUSHAR_")}
    arguments = ["serve", "--demo", "--port", "0", "--log-uri", "log", "--set", "metrics.sinks=[]"]
    process = subprocess.Popen(
        [sys.executable, "-m", "hushar", *arguments, "--set", "log.rotate_seconds=1"],
        cwd=home,
        env=environ | {"HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        for line in process.stderr:
            if match := re.search(r"listening on .*:(\d+)", line):
                break
        served = Served(process, int(match[1]))
        served.log = home / "log"
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield served
        process.terminate()
        process.wait(30)
        reader.join()


@pytest.mark.slow
class TestAgainstAServer:
    def test_an_open_loop_with_all_reports(self, hushar, server, folder):
        done = hushar(
            "bench", server.address, *CONFIG, "--rate", "100", *SHORT, "--seed", "1", "--rows", "3",
            "--max-error-rate", "0", "--output", "r.json", "--output", "r.html", "--output", "-",
        )  # fmt: skip
        assert done.status == 0, done.err
        document = json.loads(done.out)
        assert document == json.loads((folder / "r.json").read_text())
        [run] = document["runs"]
        assert run["statuses"] == {"OK": run["sent"]}
        assert run["sent"] + run["unsent"] == 30
        assert document["bounds"] == [{"name": "max_error_rate", "limit": 0.0, "value": 0.0, "held": True}]
        assert (folder / "r.html").read_text().startswith("<!DOCTYPE html>")
        # The table gives way to JSON.
        assert "open loop, 100 calls a second" in done.err

    def test_a_closed_loop(self, hushar, server):
        done = hushar("bench", server.address, *CONFIG, "--concurrency", "5", *SHORT)
        assert done.status == 0, done.err
        assert "closed loop, 5 at a time" in done.out
        assert done.err == ""

    def test_a_concurrency_that_was_not_offered_is_told(self, hushar, server):
        connections = ("--connections", "2", "--output", "-")
        done = hushar("bench", server.address, *CONFIG, "--concurrency", "5000", *SHORT, *connections)
        assert done.status == 0, done.err
        [line] = [each for each in done.err.splitlines() if "generator" in each]
        found = re.search(r"only (\d+) of 5000 calls at a time were under way: all streams", line)
        assert int(found[1]) == pytest.approx(100, abs=5)
        assert json.loads(done.out)["runs"][0]["generator"]["limited"] is True

    def test_the_highest_rate_ends_with_its_figures(self, hushar, server):
        done = hushar("bench", server.address, *CONFIG, "--rate", "1e9", *SHORT)
        assert done.status == 0, done.err
        assert "limited by the generator: " in done.out

    def test_a_missed_bound_is_status_1(self, hushar, server):
        done = hushar("bench", server.address, *CONFIG, *RATE, *SHORT, "--max-p50-seconds", "0.0000001")
        assert done.status == 1
        assert "missed: max_p50_seconds" in done.out

    def test_rows_from_json_take_their_kinds_from_a_configuration(self, hushar, server, folder):
        (folder / "rows.json").write_text('{"features": {"body_mass_g": 4000}}')
        rows = ("bench", server.address, "--json", "rows.json", *SHORT, "--concurrency", "1")
        # body_mass_g wants 64 bits; a bare number has 32.
        refused = hushar(*rows, "--max-error-rate", "0.5")
        assert refused.status == 1
        assert "INVALID_ARGUMENT" in refused.out
        assert "feature 'body_mass_g'" in refused.out
        assert hushar(*rows, *CONFIG, "--max-error-rate", "0").status == 0

    def test_rows_from_standard_input(self, hushar, server):
        row = b'{"features": {"year": {"float_value": 2009}}}'
        done = hushar("bench", server.address, "--json", "-", *RATE, *SHORT, stdin=row)
        assert done.status == 0, done.err

    def test_logged_rows_are_sent_again(self, hushar, server):
        row = b'{"row_id": "again", "features": {"year": {"float_value": 2009}}}'
        hushar("bench", server.address, "--json", "-", *RATE, *SHORT, stdin=row)
        for _ in range(300):
            if list(server.log.rglob("*.pb")):
                break
            threading.Event().wait(0.05)
        done = hushar("bench", server.address, "--log", server.log, *RATE, *SHORT, "--max-error-rate", "0")
        assert done.status == 0, done.err

    def test_a_sweep_ends_and_its_last_run_is_the_one_that_broke(self, hushar, server):
        # No server answers the second rate in time, whatever machine this is.
        done = hushar(
            "bench", server.address, *CONFIG, "--sweep", "--rate", "50", "--seconds", "0.1",
            "--warmup-seconds", "0", "--max-p99-seconds", "0.000001", "--output", "-",
        )  # fmt: skip
        document = json.loads(done.out)
        assert document["sweep"] == {"highest_rate": None}
        assert len(document["runs"]) == 1
        assert done.status == 1
        assert "no rate was held" in done.err

    def test_a_server_without_an_admin_port_is_told_in_one_line(self, hushar, server, closed_port):
        admin = ("--admin", f"127.0.0.1:{closed_port}")
        done = hushar("bench", server.address, *CONFIG, *RATE, *SHORT, *admin)
        assert done.status == 0
        assert done.err.startswith("no server-side stages: ")
        assert len(done.err.splitlines()) == 1

    def test_ctrl_c_ends_a_run_with_its_figures(self, server, folder):
        arguments = [
            "bench",
            server.address,
            *CONFIG,
            "--rate",
            "50",
            "--seconds",
            "3600",
            "--warmup-seconds",
            "0",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "hushar", *arguments, "--admin", server.address, "--output", "r.json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # The line about the stages says that the run has begun.
        assert process.stderr.readline().startswith("no server-side stages")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "(ended early)" in out
        assert "Traceback" not in err
        [run] = json.loads((folder / "r.json").read_text())["runs"]
        assert run["interrupted"] is True
        assert run["seconds"] < 600


@pytest.mark.slow
def test_a_progress_bar_is_drawn_on_a_terminal_only(server, tmp_path):
    pty = pytest.importorskip("pty")
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hushar", "bench", server.address, *CONFIG, *RATE, *SHORT],
        stdout=subprocess.PIPE,
        stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(end)
        drawn = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            drawn += part
        assert b"open loop, 10 calls" in process.stdout.read()
    os.close(terminal)
    assert process.returncode == 0
    assert b"measuring: open loop, 10 calls a second" in drawn
