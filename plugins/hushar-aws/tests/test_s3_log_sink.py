"""The S3 log sink against moto, over real HTTP; a stock boto3 reads everything back."""

import base64
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import google_crc32c
import pytest
import trio

from hushar.plugins import (
    ConfigurationError,
    PluginContext,
    SegmentRefused,
    SinkError,
    SinkRefused,
)
from hushar.testing import check_log_sink
from hushar.testing.faults import (
    ACCESS_DENIED,
    ENTITY_TOO_LARGE,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    Hang,
    LoseAnswer,
    Refuse,
    Reset,
    Slow,
    Truncate,
    clock_skew,
)
from hushar_aws import s3_upload
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError
from hushar_aws.s3_log_sink import S3LogSink, s3_log_sink
from hushar_aws.s3_uris import locate
from hushar_aws.settings import AwsSettings

MIB = 1024 * 1024
PART = 5 * MIB


@pytest.fixture
def sink(aws_bucket, no_delay) -> Callable[..., object]:
    """`async with sink(**settings) as one`: an open sink for the prefix "log"."""

    @asynccontextmanager
    async def opened(**settings) -> AsyncIterator[S3LogSink]:
        one = S3LogSink(locate(f"s3://{aws_bucket}/log"), AwsSettings(**settings), random=no_delay)
        await one.open()
        try:
            yield one
        finally:
            await one.aclose()

    return opened


def key_of(segment) -> str:
    return f"log/{segment.key}"


class TestConformance:
    @pytest.mark.parametrize("checksum", ["crc32c", "sha256", "none"])
    @pytest.mark.slow
    async def test_it_keeps_the_rules_of_a_log_sink(self, aws_bucket, objects, monkeypatch, checksum):
        context = PluginContext(AwsSettings(s3_checksum=checksum))

        def read_back():
            return {key.removeprefix("deep/log/"): data for key, data in objects().items()}

        def make_broken_sink():
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            return s3_log_sink(f"s3://{aws_bucket}/deep/log", context)

        await check_log_sink(
            lambda: s3_log_sink(f"s3://{aws_bucket}/deep/log", context),
            read_back,
            make_broken_sink=make_broken_sink,
        )


class TestUri:
    @pytest.mark.parametrize(
        ("uri", "description"),
        [
            ("s3://a-bucket/a/prefix", "s3://a-bucket/a/prefix"),
            ("s3://a-bucket/prefix/", "s3://a-bucket/prefix"),
            ("s3://a-bucket", "s3://a-bucket"),
            ("s3://a-bucket/", "s3://a-bucket"),
        ],
    )
    def test_the_description_is_the_place(self, uri, description):
        assert s3_log_sink(uri, PluginContext()).description == description

    @pytest.mark.parametrize(
        "uri",
        [
            "s3://",
            "s3:///x",
            "s3://Bucket/x",
            "s3://b_ucket",
            "s3://ab",
            "s3://192.168.0.1/x",
            "s3://a..b/c",
            "s3://-ab/x",
            "s3://bucket--x-s3/x",
            "s3://bucket/a\nb",
            "s3://bucket/\udcff",
            "s3://bucket/" + "x" * 1000,
            "s3:/bucket/x",
        ],
    )
    def test_a_bad_one_is_an_error_that_names_the_key(self, uri):
        with pytest.raises(ConfigurationError) as raised:
            s3_log_sink(uri, PluginContext())
        (problem,) = raised.value.problems
        assert problem.key == "log.uri"
        assert "\n" not in problem.message

    async def test_keys_without_a_prefix_begin_with_the_year(self, aws_bucket, objects, make_segment):
        one = s3_log_sink(f"s3://{aws_bucket}", PluginContext())
        segment = make_segment()
        await one.deliver(segment)
        await one.aclose()
        assert list(objects()) == [segment.key]
        assert segment.key.startswith("year=")


class TestCheck:
    async def test_no_region(self, aws_bucket, monkeypatch):
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(ConfigurationError) as raised:
            await s3_log_sink(f"s3://{aws_bucket}", PluginContext()).check()
        assert [problem.key for problem in raised.value.problems] == ["plugins.aws.region"]

    async def test_no_such_profile(self, aws_bucket):
        one = s3_log_sink(f"s3://{aws_bucket}", PluginContext(AwsSettings(profile="nobody")))
        with pytest.raises(ConfigurationError) as raised:
            await one.check()
        assert [problem.key for problem in raised.value.problems] == ["plugins.aws.profile"]

    async def test_certificates_that_are_not_there(self, aws_bucket, monkeypatch):
        monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
        with pytest.raises(ConfigurationError, match=r"AWS_CA_BUNDLE.*/nowhere.pem"):
            await s3_log_sink(f"s3://{aws_bucket}", PluginContext()).check()

    async def test_nobody_is_asked(self, faulty_aws, aws_bucket):
        one = s3_log_sink(f"s3://{aws_bucket}", PluginContext())
        await one.check()
        await one.open()
        await one.aclose()
        assert faulty_aws.requests == []


class TestObjects:
    @pytest.mark.parametrize("checksum", ["crc32c", "sha256", "none"])
    async def test_one_put_with_its_checksum(self, s3, sink, faulty_aws, aws_bucket, make_segment, checksum):
        segment = make_segment(300_000)
        async with sink(s3_checksum=checksum) as one:
            await one.deliver(segment)
        data = segment.path.read_bytes()
        assert s3.get_object(Bucket=aws_bucket, Key=key_of(segment))["Body"].read() == data
        (request,) = faulty_aws.requests
        assert request.operation == "PutObject"
        assert request.headers["content-length"] == "300000"
        assert "transfer-encoding" not in request.headers
        # Over plain HTTP the signature covers the body.
        assert request.headers["x-amz-content-sha256"] == hashlib.sha256(data).hexdigest()
        wanted = {
            "crc32c": google_crc32c.value(data).to_bytes(4, "big"),
            "sha256": hashlib.sha256(data).digest(),
        }
        stated = {name: value for name, value in request.headers.items() if "checksum" in name}
        expected = {} if checksum == "none" else {checksum: base64.b64encode(wanted[checksum]).decode()}
        assert stated == {f"x-amz-checksum-{name}": value for name, value in expected.items()}

    @pytest.mark.parametrize(
        ("suffix", "content_type"),
        [("", "application/x-protobuf"), (".gz", "application/gzip"), (".zst", "application/zstd")],
    )
    async def test_its_type(self, s3, sink, aws_bucket, make_segment, suffix, content_type):
        segment = make_segment()
        segment = replace(segment, key=segment.key + suffix)
        async with sink() as one:
            await one.deliver(segment)
        head = s3.head_object(Bucket=aws_bucket, Key=key_of(segment))
        assert head["ContentType"] == content_type
        assert "ContentEncoding" not in head

    @pytest.mark.parametrize("size", [1000, PART + 1])
    async def test_class_and_encryption(self, s3, sink, aws_bucket, make_segment, size):
        segment = make_segment(size)
        async with sink(
            s3_storage_class="STANDARD_IA",
            s3_server_side_encryption="aws:kms",
            s3_kms_key_id="arn:aws:kms:us-east-1:123456789012:key/abc",
            s3_multipart_bytes=PART,
        ) as one:
            await one.deliver(segment)
        head = s3.head_object(Bucket=aws_bucket, Key=key_of(segment))
        assert head["StorageClass"] == "STANDARD_IA"
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"].endswith("key/abc")

    async def test_nothing_is_asked_for_that_is_not_set(self, sink, faulty_aws, make_segment):
        async with sink() as one:
            await one.deliver(make_segment())
        (request,) = faulty_aws.requests
        assert not [name for name in request.headers if "storage-class" in name or "encryption" in name]
        assert "if-none-match" not in request.headers


class TestParts:
    @pytest.mark.parametrize("checksum", ["crc32c", "sha256", "none"])
    async def test_a_large_segment_goes_in_parts(
        self, s3, sink, faulty_aws, aws_bucket, make_segment, checksum
    ):
        segment = make_segment(2 * PART + 12345)
        async with sink(s3_multipart_bytes=PART, s3_checksum=checksum) as one:
            await one.deliver(segment)
        assert (
            s3.get_object(Bucket=aws_bucket, Key=key_of(segment))["Body"].read() == segment.path.read_bytes()
        )
        assert [request.operation for request in faulty_aws.requests] == [
            "CreateMultipartUpload",
            *["UploadPart"] * 3,
            "CompleteMultipartUpload",
        ]
        assert [request.body_bytes for request in faulty_aws.requests[1:4]] == [PART, PART, 12345]
        checksums = [f"x-amz-checksum-{checksum}" in request.headers for request in faulty_aws.requests[1:4]]
        assert checksums == [checksum != "none"] * 3

    async def test_one_of_just_the_size_does_not(self, sink, faulty_aws, make_segment):
        async with sink(s3_multipart_bytes=PART) as one:
            await one.deliver(make_segment(PART))
        assert [request.operation for request in faulty_aws.requests] == ["PutObject"]

    @pytest.mark.parametrize("size", [PART + 1, 10_000 * PART, 10_000 * PART + 1, 5 * 1024**4])
    def test_the_parts_are_the_file_and_no_more_than_s3_takes(self, size):
        parts = s3_upload._parts(size, PART)
        assert [part.number for part in parts] == list(range(1, len(parts) + 1))
        assert len(parts) <= 10_000
        ends = [part.offset + part.size for part in parts]
        assert [part.offset for part in parts] == [0, *ends[:-1]]
        assert ends[-1] == size
        assert all(PART <= part.size <= 5 * 1024**3 for part in parts[:-1])

    @pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
    async def test_a_failure_takes_back_what_was_sent(
        self, s3, sink, faulty_aws, aws_bucket, make_segment, objects, operation
    ):
        segment = make_segment(PART + 1)
        rule = faulty_aws.inject(ACCESS_DENIED, operation=operation)
        async with sink(s3_multipart_bytes=PART) as one:
            with pytest.raises(SinkRefused, match="AccessDenied"):
                await one.deliver(segment)
            assert faulty_aws.count(operation="AbortMultipartUpload") == 1
            assert "Uploads" not in s3.list_multipart_uploads(Bucket=aws_bucket)
            assert objects() == {}
            rule.stop()
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_a_success_that_holds_an_error_is_none(
        self, sink, faulty_aws, make_segment, objects, canned
    ):
        body = (
            b'<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>Try again.</Message></Error>'
        )
        faulty_aws.inject(canned(200, body), operation="CompleteMultipartUpload", times=3)
        segment = make_segment(PART + 1)
        async with sink(s3_multipart_bytes=PART) as one:
            with pytest.raises(SinkError, match="InternalError"):
                await one.deliver(segment)
            assert objects() == {}
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_credentials_that_expire_under_way(self, sink, faulty_aws, make_segment, objects):
        faulty_aws.inject(EXPIRED_TOKEN, operation="UploadPart", skip=1, times=1)
        segment = make_segment(2 * PART + 1)
        async with sink(s3_multipart_bytes=PART) as one:
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}
        assert faulty_aws.count(operation="UploadPart") == 4
        assert faulty_aws.count(operation="AbortMultipartUpload") == 0

    async def test_a_lost_answer_to_the_last_request(self, sink, faulty_aws, make_segment, objects):
        """S3 gives it again to whoever asks again, for a while."""
        faulty_aws.inject(LoseAnswer(), operation="CompleteMultipartUpload", times=1)
        segment = make_segment(PART + 1)
        async with sink(s3_multipart_bytes=PART) as one:
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_a_lost_answer_that_is_not_given_again(self, sink, faulty_aws, make_segment, objects):
        """The object is there, and nobody knows: the next attempt overwrites it."""
        operation = "CompleteMultipartUpload"
        faulty_aws.inject(LoseAnswer(), operation=operation, times=1)
        faulty_aws.inject(Refuse(404, "NoSuchUpload"), operation=operation, times=1)
        segment = make_segment(PART + 1)
        async with sink(s3_multipart_bytes=PART) as one:
            with pytest.raises(SinkError, match="NoSuchUpload") as raised:
                await one.deliver(segment)
            assert type(raised.value) is SinkError
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_a_cancellation_takes_back_what_was_sent(
        self, s3, sink, faulty_aws, aws_bucket, make_segment
    ):
        faulty_aws.inject(Hang(), operation="UploadPart")
        async with sink(s3_multipart_bytes=PART) as one, trio.open_nursery() as nursery:
            nursery.start_soon(one.deliver, make_segment(PART + 1))
            while not faulty_aws.count(operation="UploadPart"):  # noqa: ASYNC110 - a thread's
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert "Uploads" not in s3.list_multipart_uploads(Bucket=aws_bucket)

    async def test_a_cancellation_does_not_wait_for_an_answer_that_never_comes(
        self, sink, faulty_aws, make_segment, monkeypatch
    ):
        """The server ends in time, whatever S3 does."""
        monkeypatch.setattr(s3_upload, "ABORT_SECONDS", 0.1)
        faulty_aws.inject(Hang(), operation="UploadPart")
        faulty_aws.inject(Hang(), operation="AbortMultipartUpload")
        async with sink(s3_multipart_bytes=PART, read_seconds=3600) as one:
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.deliver, make_segment(PART + 1))
                    while not faulty_aws.count(operation="UploadPart"):  # noqa: ASYNC110 - a thread's
                        await trio.sleep(0.01)
                    nursery.cancel_scope.cancel()
        assert faulty_aws.count(operation="AbortMultipartUpload") == 1


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            INTERNAL_ERROR,
            SLOW_DOWN,
            Refuse(502, "BadGateway"),
            Refuse(400, "RequestTimeout"),
            Refuse(429, "Odd"),
            Reset("before"),
            Reset("middle"),
            Reset("after"),
            LoseAnswer(),
            Truncate(),
        ],
        ids=str,
    )
    async def test_what_passes_is_tried_again(self, sink, faulty_aws, make_segment, objects, fault):
        segment = make_segment(400_000)
        faulty_aws.inject(fault, operation="PutObject", times=2)
        async with sink() as one:
            await one.deliver(segment)
        assert faulty_aws.count(operation="PutObject") == 3
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_three_attempts_then_the_log_sidecar_decides(self, sink, faulty_aws, make_segment):
        faulty_aws.inject(SLOW_DOWN)
        async with sink() as one:
            with pytest.raises(SinkError, match=r"SlowDown \(503\): Please reduce") as raised:
                await one.deliver(make_segment())
        assert type(raised.value) is SinkError
        assert faulty_aws.count() == 3

    @pytest.mark.parametrize(
        ("fault", "kind", "attempts"),
        [
            (ACCESS_DENIED, SinkRefused, 1),
            (NO_SUCH_BUCKET, SinkRefused, 1),
            (Refuse(403, "InvalidAccessKeyId"), SinkRefused, 2),
            (EXPIRED_TOKEN, SinkRefused, 2),
            (clock_skew(), SinkRefused, 1),
            (Refuse(403, "SignatureDoesNotMatch"), SinkRefused, 1),
            (Refuse(400, "SomethingNew"), SinkRefused, 1),
            (INVALID_ARGUMENT, SegmentRefused, 1),
            (ENTITY_TOO_LARGE, SegmentRefused, 1),
            (Refuse(413, "Odd"), SegmentRefused, 1),
        ],
        ids=str,
    )
    async def test_what_does_not_pass_is_judged(
        self, sink, faulty_aws, make_segment, objects, fault, kind, attempts
    ):
        rule = faulty_aws.inject(fault)
        segment = make_segment()
        async with sink() as one:
            with pytest.raises(SinkError) as raised:
                await one.deliver(segment)
            assert type(raised.value) is kind
            assert faulty_aws.count() == attempts
            rule.stop()
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_a_clock_that_is_wrong_is_told_by_how_much(self, sink, faulty_aws, make_segment):
        faulty_aws.inject(clock_skew(3600))
        async with sink() as one:
            with pytest.raises(SinkRefused, match=r"this machine's clock is 3(599|600|601) s behind"):
                await one.deliver(make_segment())

    @pytest.mark.parametrize("status", [301, 307, 400])
    async def test_another_region_is_named(self, sink, faulty_aws, make_segment, canned, status):
        code = "AuthorizationHeaderMalformed" if status == 400 else "PermanentRedirect"
        body = f"<Error><Code>{code}</Code><Message>elsewhere</Message></Error>".encode()
        headers = (("x-amz-bucket-region", "eu-west-3"), ("location", "http://127.0.0.1:1/"))
        faulty_aws.inject(canned(status, body, headers))
        async with sink() as one:
            with pytest.raises(SinkRefused, match=r"in eu-west-3, .* to us-east-1; set plugins.aws.region"):
                await one.deliver(make_segment())
        assert faulty_aws.count() == 1

    async def test_a_body_in_memory_whose_connection_breaks(self, faulty_aws, no_delay):
        """Nothing of httpx's is left behind (a warning, an error in tests)."""
        faulty_aws.inject(Reset("before"), times=1)
        faulty_aws.inject(Reset("middle"), times=1)
        faulty_aws.inject(ACCESS_DENIED)
        client = AwsClient(AwsSettings(), "kinesis", random=no_delay)
        with pytest.raises(AwsError, match="AccessDenied"):
            await client.request("POST", "/", body=b"x" * 8 * MIB)
        await client.aclose()
        assert faulty_aws.count() == 3

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"<html>Please log in</html>", r"NoETag \(200\): no ETag in the answer"),
            (b"", "NoETag"),
            (b"<Error><Code>InternalError</Code><Message>Sorry.</Message></Error>", "InternalError .*Sorry"),
        ],
    )
    @pytest.mark.parametrize("size", [1000, PART + 1])
    async def test_a_success_that_is_not_s3s(
        self, sink, faulty_aws, make_segment, objects, canned, body, said, size
    ):
        """A segment is not given up for the page of some proxy."""
        operation = "PutObject" if size < PART else "UploadPart"
        rule = faulty_aws.inject(canned(200, body), operation=operation)
        segment = make_segment(size)
        async with sink(s3_multipart_bytes=PART) as one:
            with pytest.raises(SinkError, match=said) as raised:
                await one.deliver(segment)
            assert type(raised.value) is SinkError
            assert objects() == {}
            rule.stop()
            await one.deliver(segment)
        assert objects() == {key_of(segment): segment.path.read_bytes()}

    async def test_a_server_that_says_nothing(self, sink, faulty_aws, make_segment):
        faulty_aws.inject(Hang())
        async with sink(read_seconds=0.1) as one:
            with pytest.raises(SinkError, match="Timeout") as raised:
                await one.deliver(make_segment())
        assert type(raised.value) is SinkError

    async def test_one_that_is_too_slow(self, sink, faulty_aws, make_segment):
        """Each byte comes in time; all of them never would."""
        faulty_aws.inject(Slow(200))
        async with sink(read_seconds=0.1) as one:
            with pytest.raises(SinkError, match="Timeout"):
                await one.deliver(make_segment())

    async def test_nobody_there(self, sink, monkeypatch, make_segment):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        async with sink() as one:
            with pytest.raises(SinkError, match=r"Unreachable: 127\.0\.0\.1:1") as raised:
                await one.deliver(make_segment())
        assert type(raised.value) is SinkError

    async def test_a_file_that_is_cut_under_way(self, sink, faulty_aws, make_segment, objects, monkeypatch):
        """Its length was told already: the request fails, and nothing is there."""
        segment = make_segment(400_000)
        original = trio.to_thread.run_sync

        async def cut(function, *args, **kwargs):
            result = await original(function, *args, **kwargs)
            if "digests" in str(function):
                segment.path.write_bytes(b"short")
            return result

        monkeypatch.setattr(trio.to_thread, "run_sync", cut)
        async with sink() as one:
            with pytest.raises(SinkError, match="BodyCut"):
                await one.deliver(segment)
        assert objects() == {}

    async def test_a_file_that_is_gone(self, sink, make_segment):
        segment = make_segment()
        segment.path.unlink()
        async with sink() as one:
            with pytest.raises(SinkError, match="No such file"):
                await one.deliver(segment)

    async def test_a_quoted_secret_is_not_shown(self, sink, faulty_aws, make_segment, monkeypatch, caplog):
        monkeypatch.setenv("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEXAMPLETOKEN")
        text = "no: AKIAFAKEFAKEFAKEFAKE FwoGZXIvYXdzEXAMPLETOKEN\r\nfake"
        faulty_aws.inject(Refuse(403, "AccessDenied", text))
        caplog.set_level(logging.DEBUG)
        async with sink() as one:
            with pytest.raises(SinkRefused) as raised:
                await one.deliver(make_segment())
            shown = f"{raised.value}{one!r}{vars(one)}{caplog.text}"
        assert "no: … … fake" in str(raised.value)
        assert "FwoGZ" not in shown
        assert "AKIAFAKE" not in shown
        assert "fakeSecretKey" not in shown
        assert "Signature" not in caplog.text
