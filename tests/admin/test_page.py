"""The status page: what it is allowed to do, and what a real browser makes of it."""

import base64
import dataclasses
import hashlib
import logging
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import trio

from hushar.admin import document
from hushar.admin.reading import State

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
def browser():
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("needs tool: Chromium (" + ", ".join(BROWSERS) + ", or named in CHROMIUM)")
    return found


@pytest.fixture
def show(browser, tmp_path, asked):
    """await show(): what the browser has made of the page, and what it complained about."""

    async def shown(*arguments):
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1280,1400",
            "--virtual-time-budget=3000",
            *arguments,
            f"{asked.url}/",
        ]
        with trio.fail_after(120):
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        said = [line for line in done.stderr.decode().splitlines() if "CONSOLE" in line]
        return done.stdout.decode(), said

    return shown


def text_of(html, element):
    """The text of the element with this id."""
    found = re.search(rf'<(\w+)[^>]* id="{element}"[^>]*>(.*?)</\1>', html, re.DOTALL)
    return re.sub(r"<[^>]+>", " ", found[2].replace("<wbr>", ""))


@pytest.mark.slow
class TestInABrowser:
    async def test_it_shows_what_there_is(self, asked, show):
        asked.ready()
        asked.port.history.add(asked.port.source.glance())
        await trio.sleep(0.01)
        later = asked.port.source.glance()
        asked.port.history.add(dataclasses.replace(later, rows=later.rows + 5))
        asked.port.messages.handle(
            logging.LogRecord("hushar", logging.WARNING, "", 0, "<b>sink</b> & %s failed", ("s3",), None)
        )
        html, complaints = await show("--dump-dom")
        assert complaints == []
        assert 'data-shown="yes"' in html
        assert text_of(html, "model") == "penguins"
        assert text_of(html, "state") == "ready"
        assert text_of(html, "flight") == "2"
        assert text_of(html, "queued") == "5"
        assert "hushar.Hushar/InferenceService" in text_of(html, "methods")
        assert "s3://bucket/logs" in text_of(html, "sinks")
        assert "down" in text_of(html, "sinks")
        assert "queue_full" in text_of(html, "books")
        assert "queue_seconds" in text_of(html, "shed")
        assert "vectorize" in text_of(html, "stages")
        assert "odd" in text_of(html, "features")
        # As text, whatever is in it.
        assert "&lt;b&gt;sink&lt;/b&gt; &amp; s3 failed" in html
        assert "<polyline" in html

    async def test_it_asks_again_and_again(self, asked, show):
        asked.ready()
        await show("--dump-dom")
        assert asked.readings >= 2

    @pytest.mark.parametrize("state", [State.STARTING, State.DRAINING])
    async def test_it_says_so_while_the_server_starts_or_ends(self, asked, show, state):
        if state is State.DRAINING:
            asked.ready()
        asked.port.state = state
        html, complaints = await show("--dump-dom")
        assert (text_of(html, "state"), complaints) == (state.value, [])

    async def test_where_nothing_is_logged(self, asked, show, without_log):
        asked.ready(without_log)
        html, complaints = await show("--dump-dom")
        assert complaints == []
        assert re.search(r'<div id="log" hidden', html)

    async def test_a_server_that_does_not_answer_is_told(self, asked, show):
        def fail():
            raise ZeroDivisionError

        asked.ready()
        asked.port.source = dataclasses.replace(asked.port.source, read=fail)
        html, _ = await show("--dump-dom")
        assert "status 500" in text_of(html, "silent")

    async def test_it_can_be_looked_at(self, asked, show, tmp_path):
        asked.ready()
        picture = tmp_path / "page.png"
        await show(f"--screenshot={picture}")
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 20_000


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.content = {"style": "", "script": ""}
        self._inside = None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in self.content else None

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside:
            self.content[self._inside] += data


class TestPolicy:
    @pytest.fixture
    def page(self):
        page = _Page()
        page.feed(document.html())
        return page

    def test_only_its_own_style_and_script_may_run(self, page):
        policy = dict(part.strip().split(" ", 1) for part in document.policy().split(";"))
        assert policy["default-src"] == "'none'"
        for kind in ("style", "script"):
            digest = base64.b64encode(hashlib.sha256(page.content[kind].encode()).digest()).decode()
            assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
        assert policy["connect-src"] == "'self'"
        for nowhere in ("base-uri", "form-action", "frame-ancestors"):
            assert policy[nowhere] == "'none'"
        assert "unsafe" not in document.policy()

    def test_it_loads_nothing(self, page):
        for _, attributes in page.tags:
            assert "src" not in attributes
            assert "style" not in attributes
            assert not any(name.startswith("on") for name in attributes)
            assert attributes.get("href", "/").startswith(("/", "data:,"))
        assert "http" not in page.content["script"].replace("http://www.w3.org/2000/svg", "")
        assert "url(" not in page.content["style"]

    def test_what_it_is_told_becomes_text_only(self, page):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", page.content["script"]
        )

    async def test_it_is_sent_with_the_policy(self, asked):
        answer = await asked.get("/")
        assert answer.headers["content-security-policy"] == document.policy()
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text == document.html()


def test_the_files_are_in_the_package():
    folder = Path(document.__file__).parent / "page"
    assert sorted(path.name for path in folder.iterdir()) == ["page.css", "page.html", "page.js"]
