"""Segments that are uploaded in parts, when parts and their end fail."""

from contextlib import closing

from promisekit.calling import Load, eventually
from promisekit.stores import client, missing, twice

from hushar.testing.faults import INTERNAL_ERROR, LoseAnswer, Reset, Truncate

MIB = 1 << 20


def test_a_large_segment_arrives_whole_whatever_happens_to_its_parts(serve, aws):
    log = {"acknowledge": "spooled", "rotate_bytes": 12 * MIB, "rotate_seconds": 600}
    plugins = {"aws": {"s3_multipart_bytes": 5 * MIB, "read_seconds": 5}}
    service = serve(aws.uri, log=log, plugins=plugins)
    faults = [
        ("CreateMultipartUpload", LoseAnswer()),
        ("UploadPart", Reset("middle")),
        ("UploadPart", LoseAnswer()),
        ("UploadPart", INTERNAL_ERROR),
        ("CompleteMultipartUpload", INTERNAL_ERROR),
        ("CompleteMultipartUpload", LoseAnswer()),
        ("CompleteMultipartUpload", Truncate()),
    ]
    # Each once, in the order in which a client meets them.
    for operation, fault in faults:
        aws.proxy.inject(fault, operation=operation, times=1)
    with Load(lambda: service.address, limit=800, pause=0, ballast="b" * 50_000) as load:
        load.finish()
    eventually(lambda: aws.proxy.count(operation="CompleteMultipartUpload") >= 4, "uploads in parts")
    assert service.terminate() == 0, service.lines
    assert load.failed == []
    ids = aws.store.ids()
    assert missing(load.answered, ids) == []
    assert twice(ids) == {}
    assert service.segments() == []
    with closing(client(aws.moto.url, "s3")) as s3:
        left = s3.list_multipart_uploads(Bucket=aws.bucket).get("Uploads", [])
    # The one whose id was in the answer that was lost: nobody knows of it but S3.
    assert len(left) <= 1
