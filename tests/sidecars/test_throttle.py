"""A line now and then, and none of the counts lost."""

from hushar.sidecars.throttle import Throttle


def test_the_first_time_is_said_at_once_and_the_rest_together_later():
    now = [100.0]
    throttle = Throttle(lambda: now[0], seconds=10)
    assert throttle.due() == 1
    now[0] = 109.9
    assert throttle.due(3) == 0
    assert throttle.due(2) == 0
    now[0] = 110.0
    assert throttle.due() == 6
    assert throttle.due() == 0


def test_after_a_long_silence_only_what_is_new_is_said():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    throttle.due(5)
    now[0] = 1000.0
    assert throttle.due(2) == 2
