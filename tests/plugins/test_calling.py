"""What a plugin's code does at start besides what it should becomes a problem that names it."""

import logging

import pytest

from hushar.errors import ConfigurationError, Problem, StorageError
from hushar.models.runtime import ModelError
from hushar.plugins.calling import Named, blaming, call_factory, fault, kind_of


def named(factory, hook="hushar_services"):
    return Named("example", hook, "thing", factory)


def raising(error):
    def factory(*_):
        raise error

    return factory


def problem_of(*arguments):
    with pytest.raises(ConfigurationError) as caught:
        call_factory(*arguments)
    (problem,) = caught.value.problems
    return problem


def test_a_factory_is_called_with_its_arguments_and_its_result_returned():
    assert call_factory(named(lambda *given, **more: [given, more]), list, 1, 2, x=3) == [(1, 2), {"x": 3}]


def test_one_of_several_classes_will_do():
    assert call_factory(named(lambda: 1), (str, int)) == 1


@pytest.mark.parametrize(
    ("returns", "message"),
    [(int, "expected a int, got None"), ((str, int), "expected a str or int, got None")],
)
def test_another_result_is_a_problem(returns, message):
    problem = problem_of(named(lambda: None), returns)
    assert problem == Problem("plugins", "example", f"hushar_services: 'thing': {message}")


def test_an_exception_is_a_problem_with_it_as_the_cause(caplog):
    caplog.set_level(logging.DEBUG, "hushar.plugins")
    error = KeyError("x\x1b")
    with pytest.raises(ConfigurationError) as caught:
        call_factory(named(raising(error)), int)
    assert str(caught.value) == r"plugins: example: hushar_services: 'thing': KeyError('x\x1b')"
    assert caught.value.__cause__ is error
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info[1] is error


def test_a_factorys_own_words_are_left_alone():
    own = Problem("", "log.uri", "there is no such bucket")
    assert problem_of(named(raising(ConfigurationError([own]))), int) == own


@pytest.mark.parametrize(
    ("hook", "error"),
    [("hushar_runtimes", ModelError("model_path", "no")), ("hushar_storages", StorageError("no"))],
)
def test_what_an_interface_may_raise_passes_there_and_nowhere_else(hook, error):
    with pytest.raises(type(error)):
        call_factory(named(raising(error), hook), int)
    assert "Error(" in problem_of(named(raising(error), "hushar_log_sinks"), int).message


async def test_coroutines_are_blamed_too():
    async def check():
        raise OSError(13, "Permission denied")

    with pytest.raises(ConfigurationError, match="PermissionError"), blaming(named(None)):
        await check()


def test_what_is_no_exception_of_a_plugin_passes():
    with pytest.raises(KeyboardInterrupt):
        call_factory(named(raising(KeyboardInterrupt())), int)


def test_a_long_text_is_cut():
    assert len(fault("example", "here", ValueError("x" * 10_000)).message) < 400


@pytest.mark.parametrize(
    ("value", "words"), [(None, "None"), (int, "the class int"), ("x", "an instance of str")]
)
def test_kinds_of_values(value, words):
    assert kind_of(value) == words
