"""The last warnings, for the page."""

import logging

import pytest

from hushar.admin.messages import KEPT, LONGEST, RecentMessages


@pytest.fixture
def messages():
    handler = RecentMessages()
    logger = logging.getLogger("hushar.test_messages")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield logger, handler
    logger.removeHandler(handler)


def test_warnings_and_worse_are_kept_and_no_more_than_so_many(messages):
    logger, kept = messages
    logger.info("no news")
    for number in range(KEPT + 5):
        logger.warning("number %d", number)
    logger.error("last")
    found = kept.newest_first()
    assert len(found) == KEPT
    assert [(each["level"], each["message"]) for each in found[:2]] == [
        ("error", "last"),
        ("warning", f"number {KEPT + 4}"),
    ]


def test_a_traceback_is_not_shown_and_a_long_message_is_cut(messages):
    logger, kept = messages
    try:
        raise ValueError("the value of a feature")
    except ValueError:
        logger.exception("x" * 10_000)
    (found,) = kept.newest_first()
    assert (len(found["message"]), found["message"][-1]) == (LONGEST, "…")
    assert "feature" not in str(found)


def test_a_message_that_cannot_be_made_breaks_nothing(messages, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger, kept = messages
    logger.warning("%d", "no number")
    assert kept.newest_first() == []
