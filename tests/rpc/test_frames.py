"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6), compared with hyperframe's."""

import pytest
from hyperframe import frame as reference

from hushar.rpc import frames as fr


def parsed(data):
    """The frame as hyperframe reads it."""
    frame, length = reference.Frame.parse_frame_header(data[:9])
    frame.parse_body(memoryview(data[9:]))
    assert length == len(data) - 9
    return frame


def test_the_preface_is_that_of_the_rfc():
    assert fr.PREFACE.hex() == "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a"


def test_types_settings_and_codes_have_the_numbers_of_the_rfc():
    kinds = (
        *(fr.DATA, fr.HEADERS, fr.PRIORITY, fr.RST_STREAM, fr.SETTINGS, fr.PUSH_PROMISE),
        *(fr.PING, fr.GOAWAY, fr.WINDOW_UPDATE, fr.CONTINUATION),
    )
    assert kinds == tuple(range(10))
    settings = (
        *(fr.HEADER_TABLE_SIZE, fr.ENABLE_PUSH, fr.MAX_CONCURRENT_STREAMS),
        *(fr.INITIAL_WINDOW_SIZE, fr.MAX_FRAME_SIZE, fr.MAX_HEADER_LIST_SIZE),
    )
    assert settings == tuple(range(1, 7))
    codes = (
        *(fr.NO_ERROR, fr.PROTOCOL_ERROR, fr.INTERNAL_ERROR, fr.FLOW_CONTROL_ERROR, fr.SETTINGS_TIMEOUT),
        *(fr.STREAM_CLOSED, fr.FRAME_SIZE_ERROR, fr.REFUSED_STREAM, fr.CANCEL, fr.COMPRESSION_ERROR),
        *(fr.CONNECT_ERROR, fr.ENHANCE_YOUR_CALM, fr.INADEQUATE_SECURITY, fr.HTTP_1_1_REQUIRED),
    )
    assert codes == tuple(range(14))


@pytest.mark.parametrize("size", [0, 1, 255, 256, 16384, 70000])
def test_a_frame_has_its_length_type_flags_and_stream(size):
    frame = parsed(fr.frame(fr.DATA, fr.END_STREAM, 2**31 - 1, bytes(size)))
    assert isinstance(frame, reference.DataFrame)
    assert (frame.stream_id, set(frame.flags), frame.data) == (2**31 - 1, {"END_STREAM"}, bytes(size))


def test_the_header_is_read_as_it_was_written():
    head, flags, stream_id = fr.HEADER.unpack(fr.frame(fr.HEADERS, 0x25, 7, b"abc")[: fr.HEADER_BYTES])
    assert (head >> 8, head & 0xFF, flags, stream_id) == (3, fr.HEADERS, 0x25, 7)


def test_settings_keep_their_order():
    entries = [(fr.MAX_FRAME_SIZE, 2**24 - 1), (fr.INITIAL_WINDOW_SIZE, 0), (0xFE03, 2**32 - 1)]
    data = fr.settings(entries)
    assert list(parsed(data).settings.items()) == entries
    assert list(fr.settings_entries(data[fr.HEADER_BYTES :])) == entries


def test_an_acknowledgement_of_settings_is_empty():
    frame = parsed(fr.SETTINGS_ACK)
    assert (set(frame.flags), frame.settings, frame.stream_id) == ({"ACK"}, {}, 0)


def test_rst_stream_has_its_code():
    frame = parsed(fr.rst_stream(5, fr.ENHANCE_YOUR_CALM))
    assert (frame.stream_id, frame.error_code) == (5, 0xB)


@pytest.mark.parametrize("ack", [False, True])
def test_ping_has_its_data(ack):
    frame = parsed(fr.ping(b"12345678", ack=ack))
    assert (frame.opaque_data, "ACK" in frame.flags, frame.stream_id) == (b"12345678", ack, 0)


def test_goaway_has_its_last_stream_code_and_reason():
    frame = parsed(fr.goaway(fr.MAX_STREAM_ID, fr.NO_ERROR, b"why"))
    assert (frame.last_stream_id, frame.error_code, frame.additional_data) == (2**31 - 1, 0, b"why")


def test_window_update_has_its_increment():
    frame = parsed(fr.window_update(3, fr.MAX_WINDOW))
    assert (frame.stream_id, frame.window_increment) == (3, 2**31 - 1)


def test_a_word_is_read_anywhere():
    assert fr.word(b"\xff\x80\x00\x00\x01", 1) == 2**31 + 1
