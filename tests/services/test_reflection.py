"""Server reflection, v1 and v1alpha: what grpcurl asks, and what it is answered."""

import pytest
from google.protobuf import descriptor_pb2

from hushar.services import native
from hushar.services.health import NAME as HEALTH
from hushar.services.health import Health
from hushar.services.reflection import NAMES, TYPES, Reflection


@pytest.fixture(params=NAMES)
async def asked(request, serve):
    """asked(field=value): the answer to one request, in either version."""
    types = TYPES[request.param]
    health = Health().service
    told = Reflection({native.NAME: None, HEALTH: health})
    remote = await serve(health, *told.services)

    async def ask(*requests, **how):
        made = [types["ServerReflectionRequest"](host="here", **fields) for fields in requests]
        path = f"/{request.param}/ServerReflectionInfo"
        answers, end = await remote.stream(path, made, types["ServerReflectionResponse"], **how)
        assert [answer.original_request for answer in answers] == made[: len(answers)]
        assert {answer.valid_host for answer in answers} <= {"here"}
        return answers, end

    ask.reflection, ask.server = told, remote.server
    return ask


def files(answer):
    """The names of the files in an answer."""
    found = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(each).name for each in found]


async def test_every_service_is_listed(asked):
    (answer,), end = await asked({"list_services": "*"})
    assert end == "OK"
    assert [each.name for each in answer.list_services_response.service] == sorted(
        [native.NAME, HEALTH, *NAMES]
    )


@pytest.mark.parametrize(
    "symbol",
    [
        "hushar.Hushar",
        "hushar.Hushar.InferenceService",
        "hushar.InferenceRequest",
        "hushar.InferenceRequest.inputs",
        "hushar.DataType",
        HEALTH,
        f"{HEALTH}.Watch",
        "grpc.health.v1.HealthCheckResponse.ServingStatus",
        *NAMES,
    ],
)
async def test_a_symbol_leads_to_its_file(asked, symbol):
    (answer,), _ = await asked({"file_containing_symbol": symbol})
    first, *_ = answer.file_descriptor_response.file_descriptor_proto
    assert symbol.startswith(descriptor_pb2.FileDescriptorProto.FromString(first).package)


async def test_with_a_file_comes_all_that_it_imports(asked):
    (answer,), _ = await asked({"file_by_filename": "hushar/service.proto"})
    assert files(answer) == ["hushar/service.proto", "hushar/structs.proto"]


async def test_what_is_no_part_of_a_service_is_not_told(asked):
    """Also if the process has it: the spool's own messages, and protobuf's."""
    answers, _ = await asked(
        {"file_containing_symbol": "google.protobuf.FileDescriptorProto"},
        {"file_by_filename": "hushar/internal.proto"},
        {"file_by_filename": "google/protobuf/descriptor.proto"},
    )
    assert [answer.error_response.error_code for answer in answers] == [5, 5, 5]


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"file_containing_symbol": "hushar.Hushar.Nothing"}, 5),
        ({"file_containing_symbol": ""}, 5),
        ({"file_by_filename": "nothing.proto"}, 5),
        ({"all_extension_numbers_of_type": "hushar.Nothing"}, 5),
        ({"file_containing_extension": {"containing_type": "hushar.InputRow", "extension_number": 1}}, 5),
        ({}, 3),
    ],
)
async def test_what_is_not_there_is_an_error_and_the_stream_goes_on(asked, question, code):
    (answer, other), end = await asked(question, {"list_services": ""})
    assert answer.error_response.error_code == code
    assert other.list_services_response.service
    assert end == "OK"


async def test_a_message_without_extensions_has_none(asked):
    (answer,), _ = await asked({"all_extension_numbers_of_type": "hushar.InputRow"})
    assert answer.all_extension_numbers_response.base_type_name == "hushar.InputRow"
    assert list(answer.all_extension_numbers_response.extension_number) == []


class TestDrain:
    async def test_a_stream_that_waits_ends_with_unavailable(self, asked):
        answers, end = await asked(
            {"list_services": ""}, on_answer=lambda answers: asked.reflection.drain(), half_close=False
        )
        assert (len(answers), end) == (1, "UNAVAILABLE")
        assert asked.server.in_flight == 0

    async def test_a_later_stream_ends_at_once(self, asked):
        asked.reflection.drain()
        answers, end = await asked({"list_services": ""})
        assert (answers, end) == ([], "UNAVAILABLE")
