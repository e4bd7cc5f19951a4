"""Implementations of vectorization, and makers of configurations, requests and raw wire bytes."""

from types import SimpleNamespace

import pytest

from hushar.features.plan import compile_plan
from hushar.features.reference import open_request
from hushar.features.transformations import BUILTIN
from hushar.features.vectorize import kernel_problem, make_vectorizer
from hushar.proto.structs_pb2 import InferenceRequest
from hushar.records import VectorizationDocument

ARRAY_SUFFIX = "_array"


def document_of(**features):
    return VectorizationDocument("vectorization.json", features, tuple(features))


def plan_of(**features):
    return compile_plan(document_of(**features), BUILTIN)


def request_of(*rows, request_id="request"):
    """Rows are mappings of a feature to `(kind, value)`, or pairs of a row id and such a mapping."""
    request = InferenceRequest(request_id=request_id)
    for row in rows:
        row_id, features = row if isinstance(row, tuple) else ("", row)
        message = request.inputs.add(row_id=row_id)
        for name, (kind, value) in features.items():
            data = message.features[name]
            if kind is None:
                continue
            if kind.endswith(ARRAY_SUFFIX):
                getattr(data, kind).SetInParent()
                getattr(data, kind).values.extend(value)
            else:
                setattr(data, kind, value)
    return request


def vectorize_requests(vectorizer, *requests):
    messages = [request.SerializeToString() for request in requests]
    counts = vectorizer.count(messages)
    assert counts == [len(request.inputs) for request in requests]
    return vectorizer.vectorize(messages, counts)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, content):
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def entry(*parts):
    """A row with one map entry made of the given bytes."""
    return field(2, field(2, b"".join(parts)))


def features_of(message):
    """Feature → (kind, value) of the first row of a serialized request."""
    found = {}
    for name, data in open_request(message).inputs[0].features.items():
        kind = data.WhichOneof("data_type")
        value = getattr(data, kind) if kind else None
        found[name] = (kind, list(value.values) if kind and kind.endswith(ARRAY_SUFFIX) else value)
    return found


@pytest.fixture(scope="session", params=["reference", "cython"])
def implementation(request):
    """A function from a plan to a Vectorizer, for every implementation that there is."""
    if kernel_problem(request.param) is not None:
        pytest.skip("needs tool: a C compiler and Python's headers when hushar is installed")
    return lambda plan: make_vectorizer(plan, request.param)


@pytest.fixture(scope="session")
def make():
    """Configurations, plans, requests, and what a vectorizer makes of requests, in short."""
    return SimpleNamespace(
        document=document_of, plan=plan_of, request=request_of, vectorized=vectorize_requests
    )


@pytest.fixture(scope="session")
def wire():
    """Protobuf's wire format by hand."""
    return SimpleNamespace(varint=varint, field=field, entry=entry, features=features_of)
