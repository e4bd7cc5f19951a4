"""The thread that serves asks for short slices, unless somebody else has asked for something."""

import ctypes
import os
import platform
import sys
import threading
from pathlib import Path

import pytest

from hushar.scheduling import SLICE_NS, Attributes, ask_for_short_slices

GET, SET = {"x86_64": (315, 314), "aarch64": (275, 274)}.get(platform.machine(), (None, None))
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or GET is None, reason="this system has no slices to ask for"
)
USUAL_NS = 2_800_000


class Library:
    """A system that has the given attributes, and what it was asked for."""

    def __init__(self, *, read=0, written=0, **attributes):
        self.attributes = {"policy": 0, "nice": 0, "runtime": USUAL_NS, **attributes}
        self.read, self.written = read, written
        self.asked = None

    def syscall(self, number, thread, reference, *rest):
        assert thread == 0
        there = reference._obj
        if number.value == GET:
            assert rest == (ctypes.sizeof(Attributes), 0)
            for name, value in self.attributes.items():
                setattr(there, name, value)
            return self.read
        assert number.value == SET
        assert rest == (0,)
        self.asked = {name: getattr(there, name) for name, _ in Attributes._fields_}
        return self.written


def test_the_slice_is_set_and_all_else_stays():
    library = Library(nice=5)
    assert ask_for_short_slices(library)
    assert library.asked == {
        "size": 48,
        "policy": 0,
        "flags": 1,  # SCHED_FLAG_RESET_ON_FORK
        "nice": 5,
        "priority": 0,
        "runtime": SLICE_NS,
        "deadline": 0,
        "period": 0,
    }


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({"policy": 1}, id="another policy"),
        pytest.param({"nice": -1}, id="a higher priority"),
        pytest.param({"runtime": SLICE_NS}, id="as short a slice"),
        pytest.param({"runtime": 0}, id="a system that has none"),
        pytest.param({"read": -1}, id="a system that does not tell"),
    ],
)
def test_who_knows_better_is_left_alone(attributes):
    library = Library(**attributes)
    assert not ask_for_short_slices(library)
    assert library.asked is None


def test_a_system_that_refuses_is_no_error():
    assert not ask_for_short_slices(Library(written=-1))


def test_a_library_without_system_calls_is_no_error():
    assert not ask_for_short_slices(object())


def test_a_32_bit_process_does_not_ask(monkeypatch):
    library = Library()
    monkeypatch.setattr(ctypes, "sizeof", lambda _: 4)
    assert not ask_for_short_slices(library)
    assert library.asked is None


@pytest.mark.parametrize(
    ("name", "value"), [("sys.platform", "darwin"), ("platform.machine", lambda: "riscv64")]
)
def test_other_systems_are_not_asked(monkeypatch, name, value):
    library = Library()
    monkeypatch.setattr(name, value)
    assert not ask_for_short_slices(library)
    assert library.asked is None


def test_the_system_itself_takes_it_for_one_thread_only():
    found = {}

    def look(name):
        attributes = Attributes()
        assert not ctypes.CDLL(None).syscall(
            ctypes.c_long(GET), 0, ctypes.byref(attributes), ctypes.sizeof(attributes), 0
        )
        found[name] = attributes

    def serve():
        look("before")
        found["taken"] = ask_for_short_slices()
        look("after")
        other = threading.Thread(target=look, args=["begun later"])
        other.start()
        other.join()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    before = found["before"]
    if before.runtime <= SLICE_NS or (before.policy, max(before.nice, 0)) != (os.SCHED_OTHER, before.nice):
        assert not found["taken"]
        pytest.skip("a thread's own slices are of Linux 6.12, and this one may have another policy")
    if not found["taken"] and "Seccomp:\t2" in Path("/proc/self/status").read_text():
        pytest.skip("this container takes no wishes")
    assert found["taken"]
    assert found["after"].runtime == SLICE_NS
    assert found["begun later"].runtime == found["before"].runtime
    assert (found["after"].policy, found["after"].nice) == (os.SCHED_OTHER, found["before"].nice)
