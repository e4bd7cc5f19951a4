"""When a request is tried again: botocore's standard rules, compared with botocore's own."""

from random import Random

import pytest
import trio
from botocore.retries import standard

from hushar.testing.faults import INTERNAL_ERROR, SLOW_DOWN
from hushar_aws import errors
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError
from hushar_aws.retries import CAPACITY, RetryQuota, delay_seconds, is_retryable
from hushar_aws.settings import AwsSettings

THROTTLED = AwsError("SlowDown", 503, "", "throttled")
TRANSIENT = AwsError("InternalError", 500, "", "transient")


class Highest(Random):
    def random(self) -> float:
        return 1.0


def test_every_code_of_botocores_rules_is_in_ours():
    assert set(standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES) <= errors.THROTTLED
    assert (
        set(standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES) <= errors.TRANSIENT | errors.THROTTLED
    )
    for status in standard.TransientRetryableChecker._TRANSIENT_STATUS_CODES:
        assert errors.kind_of(status, "Odd") == "transient"


def test_the_tables_say_one_thing_of_each_code():
    tables = [errors.THROTTLED, errors.TRANSIENT, errors.CREDENTIALS, errors.SKEWED, errors.INVALID]
    assert sum(map(len, tables)) == len(frozenset().union(*tables))


@pytest.mark.parametrize("kind", ["refused", "credentials", "invalid", "skewed"])
def test_the_rest_is_not_tried_again(kind):
    assert not is_retryable(AwsError("x", 400, "", kind))
    assert is_retryable(THROTTLED)
    assert is_retryable(TRANSIENT)


def test_the_ceiling_doubles_up_to_a_limit():
    assert [delay_seconds(THROTTLED, attempt, Highest()) for attempt in (1, 2, 3, 30)] == [1, 2, 4, 20]
    assert [delay_seconds(TRANSIENT, attempt, Highest()) for attempt in (1, 2, 30)] == [0.05, 0.1, 20]


def test_all_below_it_is_jitter():
    drawn = [delay_seconds(THROTTLED, 3, Random(seed)) for seed in range(200)]
    assert min(drawn) < 0.2
    assert max(drawn) > 3.8


def test_an_answer_may_ask_for_a_longer_delay_within_reason():
    error = AwsError("SlowDown", 503, "", "throttled")
    error.retry_after_seconds = 3.0
    assert delay_seconds(error, 1, Highest()) == 3.0
    error.retry_after_seconds = 1000.0
    assert delay_seconds(error, 1, Highest()) == 6.0
    error.retry_after_seconds = 0.0
    assert delay_seconds(error, 1, Highest()) == 1.0


def test_the_quota():
    quota = RetryQuota()
    costs = []
    while (cost := quota.take(TRANSIENT)) is not None:
        costs.append(cost)
    assert len(costs) == CAPACITY // 14
    assert quota.take(THROTTLED) == 5
    assert quota.take(THROTTLED) == 5
    assert quota.take(THROTTLED) is None
    quota.give_back(None)
    assert quota.take(THROTTLED) is None
    quota.give_back(14)
    assert quota.take(TRANSIENT) == 14
    for _ in range(2 * CAPACITY):
        quota.give_back(None)
    assert quota.take(THROTTLED) == 5


async def test_a_client_waits_between_attempts(faulty_aws, aws_bucket, monkeypatch):
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(trio, "sleep", sleep)
    faulty_aws.inject(SLOW_DOWN, times=2)
    client = AwsClient(AwsSettings(), "s3", bucket=aws_bucket, random=Highest())
    await client.request("GET", "/x", expect=(404,))
    await client.aclose()
    assert slept == [1, 2]


async def test_without_quota_there_is_one_attempt(faulty_aws, no_delay):
    faulty_aws.inject(INTERNAL_ERROR)
    client = AwsClient(AwsSettings(), "s3", bucket="bucket", random=no_delay)
    client._quota = RetryQuota(20)
    for expected in (2, 3):
        with pytest.raises(AwsError, match="InternalError"):
            await client.request("GET", "/x")
        assert faulty_aws.count() == expected
    await client.aclose()
