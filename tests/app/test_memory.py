"""The allocator is told to keep what it gets back, unless somebody else has told it something."""

import gc
import types

import pytest

from hushar.app.memory import MMAP_BYTES, TRIM_BYTES, keep_freed_memory, settled


class Library:
    def __init__(self, result=1):
        self.options = {}
        self.result = result

    def mallopt(self, option, value):
        self.options[option] = value
        return self.result


def test_glibc_is_told_both_thresholds():
    library = Library()
    assert keep_freed_memory({}, library)
    # malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
    assert library.options == {-1: TRIM_BYTES, -3: MMAP_BYTES}


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_the_environment_comes_first(name):
    library = Library()
    assert not keep_freed_memory({name: "1"}, library)
    assert library.options == {}


def test_other_libraries_are_left_alone():
    assert not keep_freed_memory({}, types.SimpleNamespace(malloc=None))
    assert not keep_freed_memory({}, Library(result=0))


def test_the_processs_own_library_is_asked():
    assert keep_freed_memory({}) in (True, False)


def test_within_the_block_what_was_there_before_is_not_looked_at():
    before = gc.get_freeze_count()
    with settled():
        assert gc.get_freeze_count() > before + 1000
        new = [[]]
        assert any(each is new for each in gc.get_objects())
    assert gc.get_freeze_count() == 0


def test_after_an_error_everything_is_looked_at_again():
    def fail():
        with settled():
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.get_freeze_count() == 0
