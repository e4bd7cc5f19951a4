"""The storage `s3` against moto, over real HTTP."""

import gzip
from contextlib import aclosing

import pytest

from hushar.plugins import ConfigurationError, PluginContext, StorageError
from hushar.testing import check_storage
from hushar.testing.faults import ACCESS_DENIED, INTERNAL_ERROR, Reset, Truncate
from hushar_aws.s3_storage import S3Storage, s3_storage
from hushar_aws.settings import AwsSettings


@pytest.fixture
async def storage(aws_bucket, no_delay):
    one = S3Storage(AwsSettings(), random=no_delay)
    yield one
    await one.aclose()


@pytest.fixture
def put(s3, aws_bucket):
    def write(key: str, data: bytes = b"x", **more) -> str:
        s3.put_object(Bucket=aws_bucket, Key=key, Body=data, **more)
        return f"s3://{aws_bucket}/{key}"

    return write


async def listed(storage: S3Storage, uri: str, after: str | None = None) -> list[str]:
    return [entry.uri async for entry in storage.entries(uri, after=after)]


class TestRead:
    async def test_it_keeps_the_rules_of_a_storage(self, put):
        await check_storage(lambda: s3_storage(PluginContext()), put)

    @pytest.mark.parametrize(
        "key",
        ["a b/ü/हुशार.json", "a/../b/./c", "100%25+1", "a?b#c&d=e", "a//b", "/a", "~'()*!$,;:@=[]{}|^`\"<>\\"],
    )
    async def test_every_key_is_taken_as_it_stands(self, storage, put, key):
        uri = put(key, b"here")
        assert (await storage.read(uri)).data == b"here"

    async def test_a_content_encoding_is_left_as_it_is(self, storage, put):
        data = gzip.compress(b"text" * 100)
        uri = put("x", data, ContentEncoding="gzip")
        assert (await storage.read(uri)).data == data

    async def test_the_version_is_the_etag_or_the_version_id(self, s3, storage, put, aws_bucket):
        uri = put("model.onnx", b"one")
        first = (await storage.read(uri)).version
        assert first == s3.head_object(Bucket=aws_bucket, Key="model.onnx")["ETag"].strip('"')
        s3.put_bucket_versioning(Bucket=aws_bucket, VersioningConfiguration={"Status": "Enabled"})
        put("model.onnx", b"one")
        second = (await storage.read(uri)).version
        assert second == s3.head_object(Bucket=aws_bucket, Key="model.onnx")["VersionId"]

    async def test_all_objects_of_a_bucket_without_versions_have_the_same(
        self, storage, faulty_aws, canned, aws_bucket
    ):
        faulty_aws.inject(canned(200, b"data", (("x-amz-version-id", "null"), ("etag", '"of-the-data"'))))
        assert (await storage.read(f"s3://{aws_bucket}/x")).version == "of-the-data"

    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
    async def test_what_fits_its_checksum_is_taken(self, s3, storage, put, aws_bucket, algorithm):
        """That which a stock boto3 has computed; more than one piece of it."""
        data = bytes(range(256)) * 3000
        uri = put("x", data, ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket=aws_bucket, Key="x", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"]
        assert (await storage.read(uri)).data == data

    @pytest.mark.parametrize("algorithm", ["crc32", "crc32c", "sha256"])
    async def test_what_is_damaged_is_not_taken(self, storage, faulty_aws, canned, aws_bucket, algorithm):
        headers = ((f"x-amz-checksum-{algorithm}", "AAAAAA=="), ("etag", '"e"'))
        faulty_aws.inject(canned(200, b"data", headers))
        with pytest.raises(StorageError, match="does not fit its checksum"):
            await storage.read(f"s3://{aws_bucket}/x")

    async def test_a_checksum_of_parts_is_none_of_the_whole(self, storage, faulty_aws, canned, aws_bucket):
        faulty_aws.inject(canned(200, b"data", (("x-amz-checksum-crc32c", "AAAAAA==-2"),)))
        blob = await storage.read(f"s3://{aws_bucket}/x")
        assert (blob.data, blob.version) == (b"data", None)

    @pytest.mark.parametrize("fault", [INTERNAL_ERROR, Reset("after"), Truncate()], ids=str)
    async def test_what_passes_is_tried_again(self, faulty_aws, storage, put, fault):
        uri = put("x", b"y" * 100_000)
        faulty_aws.inject(fault, operation="GetObject", times=2)
        assert (await storage.read(uri)).data == b"y" * 100_000

    async def test_an_answer_that_is_always_cut(self, faulty_aws, storage, put):
        uri = put("x", b"y" * 100_000)
        faulty_aws.inject(Truncate(), operation="GetObject")
        with pytest.raises(StorageError, match=f"^cannot read {uri}: Broken: ") as raised:
            await storage.read(uri)
        assert "\n" not in str(raised.value)

    async def test_a_refusal_says_what_else_it_may_mean(self, faulty_aws, storage, put):
        uri = put("x")
        faulty_aws.inject(ACCESS_DENIED)
        with pytest.raises(StorageError, match=r"AccessDenied \(403\): .*may not list the bucket"):
            await storage.read(uri)

    @pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "s3://Bucket/key", "s3:///key", "s3://"])
    async def test_what_names_no_object(self, storage, uri):
        with pytest.raises(StorageError, match=f"^cannot read {uri}: "):
            await storage.read(uri)

    async def test_no_such_bucket(self, storage):
        with pytest.raises(StorageError, match=r"NoSuchBucket \(404\)"):
            await storage.read("s3://bucket-that-is-not-there/key")

    async def test_no_region(self, storage, put, monkeypatch):
        uri = put("x")
        monkeypatch.delenv("AWS_REGION")
        monkeypatch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(ConfigurationError) as raised:
            await storage.read(uri)
        assert [problem.key for problem in raised.value.problems] == ["plugins.aws.region"]

    async def test_no_credentials(self, storage, put, monkeypatch):
        uri = put("x")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(StorageError, match="no credentials"):
            await storage.read(uri)


class TestEntries:
    async def test_an_object_and_what_is_below_it(self, storage, put, aws_bucket):
        for key in ("log", "log-2/x", "log/b", "log/a/c", "log.gz", "other"):
            put(key, b"12345")
        base = f"s3://{aws_bucket}"
        assert await listed(storage, f"{base}/log") == [f"{base}/log", f"{base}/log/a/c", f"{base}/log/b"]
        assert await listed(storage, f"{base}/log/") == [f"{base}/log/a/c", f"{base}/log/b"]
        assert len(await listed(storage, base)) == 6
        assert [entry.size_bytes async for entry in storage.entries(f"{base}/log/")] == [5, 5]

    async def test_what_is_not_there_has_none(self, storage, aws_bucket):
        assert await listed(storage, f"s3://{aws_bucket}/nothing") == []

    async def test_folders_of_a_console_are_no_objects(self, storage, put, aws_bucket):
        put("log/", b"")
        uri = put("log/x")
        assert await listed(storage, f"s3://{aws_bucket}/log") == [uri]

    async def test_after(self, storage, put, aws_bucket):
        base = f"s3://{aws_bucket}"
        uris = [put(f"log/{name}") for name in ("a", "b", "c", "ü")]
        put("log")
        assert await listed(storage, f"{base}/log", f"{base}/log/b") == uris[2:]
        assert await listed(storage, f"{base}/log", f"{base}/log/b0") == uris[2:]
        assert await listed(storage, f"{base}/log", f"{base}/log") == uris
        assert await listed(storage, f"{base}/log", f"{base}/lof") == [f"{base}/log", *uris]
        assert await listed(storage, f"{base}/log", "s3://") == [f"{base}/log", *uris]
        assert await listed(storage, f"{base}/log", "t") == []

    async def test_keys_of_any_kind_over_many_pages(self, storage, put, aws_bucket, faulty_aws, canned):
        keys = sorted(["log/a b", "log/ü&<>", "log/%41+", *(f"log/{i:04}" for i in range(20))])
        uris = [put(key) for key in keys]

        original = storage._client(aws_bucket).request

        async def in_threes(method, path, *, query, **more):
            return await original(method, path, query={"max-keys": "3", **query}, **more)

        storage._client(aws_bucket).request = in_threes
        assert await listed(storage, f"s3://{aws_bucket}/log") == uris

    async def test_blanks_are_encoded_as_in_forms(self, storage, faulty_aws, canned, aws_bucket):
        """By S3; moto writes %20."""
        contents = "<Contents><Key>log/a+b%2Bc%C3%BC</Key><Size>1</Size></Contents>"
        faulty_aws.inject(canned(200, f"<ListBucketResult>{contents}</ListBucketResult>".encode()))
        assert await listed(storage, f"s3://{aws_bucket}/log/") == [f"s3://{aws_bucket}/log/a b+cü"]

    async def test_a_reader_that_has_enough(self, storage, put, aws_bucket):
        uris = [put(f"log/{i}") for i in range(3)]
        async with aclosing(storage.entries(f"s3://{aws_bucket}/log")) as entries:
            async for entry in entries:
                assert entry.uri == uris[0]
                break

    async def test_errors(self, faulty_aws, storage, canned, aws_bucket):
        with pytest.raises(StorageError, match=r"^cannot list s3://not-there-at-all: NoSuchBucket"):
            await listed(storage, "s3://not-there-at-all")
        faulty_aws.inject(canned(200, b"<html/>"))
        with pytest.raises(StorageError, match="no list of objects"):
            await listed(storage, f"s3://{aws_bucket}")
        with pytest.raises(StorageError, match="not the name of a bucket"):
            await listed(storage, "s3://B/x")
