"""Delays are random within bounds, and the upper bound doubles until it is the longest delay."""

from itertools import islice
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.sidecars.retry import jittered_delays


@settings(max_examples=30)
@given(st.integers(), st.floats(0.001, 10), st.floats(1, 1000))
def test_every_delay_lies_between_the_shortest_and_the_longest(seed, shortest, factor):
    longest = shortest * factor
    for number, delay in enumerate(islice(jittered_delays(Random(seed), shortest, longest), 20), start=1):
        assert shortest * 0.999 <= delay <= longest * 1.001
        assert delay <= shortest * 2**number * 1.001


def test_the_whole_range_is_used_once_it_is_reached():
    delays = list(islice(jittered_delays(Random(1), 0.2, 30), 500))[10:]
    assert min(delays) < 2
    assert max(delays) > 28


def test_thousands_of_attempts_do_not_overflow():
    assert max(islice(jittered_delays(Random(1), 0.2, 30), 5000)) <= 30


def test_two_servers_do_not_come_back_at_the_same_moment():
    first, second = (list(islice(jittered_delays(Random(seed), 0.2, 30), 5)) for seed in (1, 2))
    assert set(first).isdisjoint(second)


def test_a_longest_delay_below_the_shortest_wins():
    assert max(islice(jittered_delays(Random(1), 5, 1), 20)) <= 1
