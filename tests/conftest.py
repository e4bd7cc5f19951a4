"""What holds for every test: in CI no test is skipped because a tool is missing there.

A test that needs a program or package which a developer's machine may lack skips itself with a reason
that starts with "needs tool:". With CI=true such a skip is a failure, so that CI runs everything.
"""

import importlib.metadata
import os
import signal
import sys
import types
from collections.abc import Generator

import pytest

from hushar.plugins import hookimpl

NEEDS_TOOL = "needs tool:"


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore SIGINT, and so would every program that
    they start and interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI", "").lower() in ("true", "1") and call.excinfo is not None:
        reason = str(call.excinfo.value)
        if NEEDS_TOOL in reason:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: skipped in CI: {reason}"
    return report


@pytest.fixture
def no_plugins(monkeypatch):
    """As if hushar alone were installed."""
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: importlib.metadata.EntryPoints())


@pytest.fixture
def install_plugin(tmp_path, monkeypatch):
    """install_plugin(name, transformations={…}, commands=[…]): what `pip install` of a plugin leaves.

    The distribution is `hushar-NAME` 1.2, the entry point NAME; the rest are hooks without their
    `hushar_`, and what they return (an exception: what they raise).
    """
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name, **hooks):
        module = types.ModuleType(f"hushar_plugin_{name}")
        for hook, result in hooks.items():
            setattr(module, f"hushar_{hook}", implementation(f"hushar_{hook}", result))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        information = site / f"hushar_{name}-1.2.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hushar-{name}\nVersion: 1.2\n")
        (information / "entry_points.txt").write_text(f"[hushar]\n{name} = {module.__name__}\n")

    def implementation(name, result):
        def hook():
            if isinstance(result, Exception):
                raise result
            return result

        hook.__name__ = name
        return hookimpl(hook)

    return install
