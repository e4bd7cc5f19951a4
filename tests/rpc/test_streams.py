"""What is kept of a stream, and of those that were reset."""

from hushar.rpc.streams import RecentlyReset, Stream


def test_a_stream_begins_open_with_its_windows():
    stream = Stream(7, 65535, 100)
    assert (stream.id, stream.send_window, stream.receive_window) == (7, 65535, 100)
    assert stream.receiving
    assert stream.sending
    assert (stream.reader, stream.queue, stream.queued, stream.trailers) == (None, None, 0, None)


class TestRecentlyReset:
    def test_an_id_is_remembered(self):
        reset = RecentlyReset()
        assert 1 not in reset
        reset.add(1)
        assert 1 in reset
        assert 3 not in reset

    def test_the_oldest_is_forgotten_where_there_are_too_many(self):
        reset = RecentlyReset()
        ids = range(1, 2 * RecentlyReset.LIMIT + 3, 2)
        for stream_id in ids:
            reset.add(stream_id)
        assert ids[0] not in reset
        assert all(stream_id in reset for stream_id in ids[1:])

    def test_all_that_may_be_open_at_once_have_room(self):
        reset = RecentlyReset(3000)
        ids = range(1, 6001, 2)
        for stream_id in ids:
            reset.add(stream_id)
        assert all(stream_id in reset for stream_id in ids)

    def test_an_id_that_is_added_again_takes_no_place_from_others(self):
        reset = RecentlyReset()
        for _ in range(2 * RecentlyReset.LIMIT):
            reset.add(1)
        for stream_id in range(3, 2 * RecentlyReset.LIMIT + 1, 2):
            reset.add(stream_id)
            assert 1 in reset
