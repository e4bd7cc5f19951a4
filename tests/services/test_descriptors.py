"""The files behind services: of several pools, with what extends their messages."""

import purerpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from hushar.services.descriptors import Descriptors, pools_of

File, Field = descriptor_pb2.FileDescriptorProto, descriptor_pb2.FieldDescriptorProto


def pool_of(*files):
    pool = descriptor_pool.DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def base(version="1"):
    """`test.Open` can be extended; `test.Service` takes it. The package's name tells two apart."""
    file = File(name="base.proto", package="test", syntax="proto2")
    message = file.message_type.add(name="Open")
    message.extension_range.add(start=100, end=200)
    message.nested_type.add(name=f"Version{version}").extension_range.add(start=1, end=10)
    service = file.service.add(name="Service")
    service.method.add(name="Call", input_type=".test.Open", output_type=".test.Open")
    return file


def extending(name="more.proto", number=150, extendee=".test.Open"):
    file = File(name=name, package="more", syntax="proto2", dependency=["base.proto"])
    added = file.extension.add(name=f"extra{number}", number=number, extendee=extendee)
    added.type, added.label = Field.TYPE_INT32, Field.LABEL_OPTIONAL
    return file


def names(serialized):
    return [File.FromString(each).name for each in serialized]


@pytest.fixture
def descriptors():
    unrelated = File(name="unrelated.proto", package="unrelated")
    unrelated.message_type.add(name="Secret")
    pool = pool_of(base(), extending(), extending("inner.proto", 5, ".test.Open.Version1"), unrelated)
    return Descriptors({"test.Service": [pool]})


def test_a_file_is_found_by_its_name_and_by_what_is_in_it(descriptors):
    found = [
        descriptors.by_name("base.proto"),
        *(descriptors.by_symbol(symbol) for symbol in ("test.Open", "test.Service", "test.Service.Call")),
    ]
    assert [names(each) for each in found] == [["base.proto"]] * 4


def test_what_extends_a_message_of_a_service_is_told(descriptors):
    assert descriptors.extension_numbers("test.Open") == [150]
    assert names(descriptors.by_extension("test.Open", 150)) == ["more.proto", "base.proto"]
    assert names(descriptors.by_name("more.proto")) == ["more.proto", "base.proto"]
    assert names(descriptors.by_extension("test.Open.Version1", 5)) == ["inner.proto", "base.proto"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda told: told.by_name("unrelated.proto"),
        lambda told: told.by_symbol("unrelated.Secret"),
        lambda told: told.by_symbol("test.Service.Nothing"),
        lambda told: told.extension_numbers("unrelated.Secret"),
        lambda told: told.by_extension("test.Open", 151),
        lambda told: told.by_extension("test.Nothing", 150),
    ],
)
def test_everything_else_is_a_key_error(descriptors, ask):
    with pytest.raises(KeyError):
        ask(descriptors)


def test_of_two_files_of_one_name_that_of_the_service_is_told():
    mine, other = pool_of(base("1")), pool_of(base("2"))
    second = File(name="second.proto", package="second")
    second.service.add(name="Service")
    other.AddSerializedFile(second.SerializeToString())
    told = Descriptors({"second.Service": [other], "test.Service": [mine, other]})
    (file,) = told.by_symbol("test.Open")
    assert File.FromString(file).message_type[0].nested_type[0].name == "Version1"
    with pytest.raises(KeyError):
        told.by_symbol("test.Open.Version2")


def test_a_service_whose_file_nobody_knows_has_none():
    with pytest.raises(KeyError):
        Descriptors({"unknown.Service": []}).by_symbol("unknown.Service")


def test_the_pools_of_a_service_are_those_of_its_messages():
    pool = pool_of(base())
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.Open"))
    service = purerpc.Service("test.Service")
    for name, kind in (("Call", message), ("Raw", bytes)):
        signature = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, kind, kind)
        service.add_method(name, lambda asked: asked, signature)
    assert set(pools_of(service)) == {pool}
