"""hushar's own messages: one stream, text for people or one JSON object a line."""

import io
import json
import logging
import re

import pytest

from hushar.app.messages import configure_messages

log = logging.getLogger("hushar.somewhere")


@pytest.fixture
def said():
    """said(form, level="info"): configures the messages; returns their stream."""

    def configure(form, level="info"):
        stream = io.StringIO()
        configure_messages(form, level, stream)
        return stream

    return configure


def raised():
    try:
        raise ValueError("a\nsecond line")
    except ValueError as error:
        return error


class TestText:
    def test_a_message_is_a_line_with_time_level_and_logger(self, said):
        stream = said("text")
        log.warning("%d left", 3)
        line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning hushar\.somewhere: 3 left\n"
        assert re.fullmatch(line, stream.getvalue())

    def test_the_time_is_utc(self, said):
        stream = said("text")
        record = logging.makeLogRecord({"name": "hushar.x", "levelno": 20, "levelname": "INFO", "created": 0})
        logging.getLogger("hushar").handle(record)
        assert stream.getvalue().startswith("1970-01-01T00:00:00Z info hushar.x: ")

    def test_a_traceback_stands_below_its_message(self, said):
        stream = said("text")
        log.error("broken", exc_info=raised())
        first, *rest = stream.getvalue().splitlines()
        assert first.endswith("error hushar.somewhere: broken")
        assert rest[0].startswith("Traceback")
        assert rest[-2:] == ["ValueError: a", "second line"]


class TestJson:
    def test_a_message_is_an_object(self, said):
        stream = said("json")
        log.warning("%d left", 3)
        entry = json.loads(stream.getvalue())
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
        assert entry == {"level": "warning", "logger": "hushar.somewhere", "message": "3 left"}

    def test_the_time_is_utc_to_the_millisecond(self, said):
        stream = said("json")
        logging.getLogger("hushar").handle(
            logging.makeLogRecord({"levelno": 20, "created": 1.25, "msecs": 250.0})
        )
        assert json.loads(stream.getvalue())["time"] == "1970-01-01T00:00:01.250Z"

    @pytest.mark.parametrize(
        "text", ["a\nb", "\r\n", "\x1b[31mred", "\x00\x7f", "\u2028\x85", "\udc80", '"\\', "grün"]
    )
    def test_whatever_is_in_a_message_it_is_one_line_of_printable_ascii(self, said, text):
        stream = said("json")
        log.info("%s", text)
        written = stream.getvalue()
        assert written.endswith("\n")
        assert re.fullmatch(r"[ -~]+", written[:-1])
        assert json.loads(written)["message"] == text

    def test_an_exception_is_carried_with_its_traceback(self, said):
        stream = said("json")
        log.error("broken", exc_info=raised())
        (line,) = stream.getvalue().splitlines()
        entry = json.loads(line)
        assert entry["message"] == "broken"
        assert entry["exception"].startswith("Traceback")
        assert entry["exception"].endswith("ValueError: a\nsecond line")

    def test_further_fields_stand_beside_the_message(self, said):
        stream = said("json")
        log.critical("up", extra={"fields": {"level": "info", "columns": {"a": "[0]"}}})
        entry = json.loads(stream.getvalue())
        assert (entry["level"], entry["message"], entry["columns"]) == ("info", "up", {"a": "[0]"})


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_less_important_than_the_level_is_not_said(said, form, level, count):
    stream = said(form, level)
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    assert len(stream.getvalue().splitlines()) == count


def test_configuring_again_replaces_the_stream(said):
    before, now = said("text"), said("json")
    log.info("x")
    assert before.getvalue() == ""
    assert len(now.getvalue().splitlines()) == 1


def test_nothing_is_said_twice_nor_for_others(said, caplog):
    stream = said("text")
    log.info("ours")
    logging.getLogger("other").error("theirs")
    assert "ours" in stream.getvalue()
    assert "theirs" not in stream.getvalue()
    assert [record.getMessage() for record in caplog.records] == ["theirs"]


def test_the_transports_library_is_silent(said, caplog):
    said("text")
    logging.getLogger("purerpc").error("a call was cancelled")
    assert caplog.records == []
