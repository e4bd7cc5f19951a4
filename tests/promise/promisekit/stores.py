"""What lies at the destination, read by boto3 and protobuf, with nothing of hushar's readers."""

import gzip
from collections import Counter

import boto3
import zstandard

from hushar.proto.structs_pb2 import InferenceLogs
from hushar.testing.aws import ACCESS_KEY, REGION, SECRET_KEY


def client(endpoint, service):
    """A boto3 client that does not go through the proxy."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **keys)


class S3Store:
    """The objects of one bucket below one prefix; those that have not changed are read once."""

    def __init__(self, endpoint, bucket, prefix=""):
        self._s3 = client(endpoint, "s3")
        self._bucket = bucket
        self._prefix = prefix
        self._read = {}

    def close(self):
        self._s3.close()

    def logs(self):
        """Key → InferenceLogs, of every object there is."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        found = {}
        for page in pages:
            for item in page.get("Contents", []):
                name = item["Key"], item["ETag"]
                if name not in self._read:
                    data = self._s3.get_object(Bucket=self._bucket, Key=item["Key"])["Body"].read()
                    self._read[name] = InferenceLogs.FromString(decompressed(item["Key"], data))
                found[item["Key"]] = self._read[name]
        return found

    def ids(self):
        """How often each request id is in the store."""
        return Counter(
            batch.request_id for logs in self.logs().values() for batch in logs.inferenceLogBatches
        )


class KinesisStore:
    """The records of one stream, read from its beginning on."""

    def __init__(self, endpoint, stream):
        self._kinesis = client(endpoint, "kinesis")
        shards = self._kinesis.list_shards(StreamName=stream)["Shards"]
        self._positions = [
            self._kinesis.get_shard_iterator(
                StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in shards
        ]
        self._ids = Counter()

    def close(self):
        self._kinesis.close()

    def ids(self):
        """How often each request id is in the stream."""
        for index in range(len(self._positions)):
            while records := self._next(index):
                for record in records:
                    logs = InferenceLogs.FromString(record["Data"])
                    self._ids.update(batch.request_id for batch in logs.inferenceLogBatches)
        return self._ids

    def _next(self, index):
        answer = self._kinesis.get_records(ShardIterator=self._positions[index])
        self._positions[index] = answer["NextShardIterator"]
        return answer["Records"]


def decompressed(key, data):
    if key.endswith(".gz"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if key.endswith(".zst") else data


def missing(answered, ids):
    """What was answered and is not in the store, in the order of the calls."""
    return [request_id for request_id in answered if request_id not in ids]


def twice(ids):
    """What is in the store more than once."""
    return {request_id: times for request_id, times in ids.items() if times > 1}
