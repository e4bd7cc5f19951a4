from hushar.client.errors import BadRows, CallFailed, ConnectionFailed
from hushar.errors import ConfigurationError, HusharError, Problem


def test_a_failed_call_says_its_status_and_why():
    error = CallFailed("INVALID_ARGUMENT", "row 0")
    assert (error.code, error.message, str(error)) == ("INVALID_ARGUMENT", "row 0", "INVALID_ARGUMENT: row 0")
    assert str(CallFailed("CANCELLED", "")) == "CANCELLED"


def test_a_failed_connection_is_a_call_that_the_server_was_unavailable_for():
    error = ConnectionFailed("nobody there")
    assert isinstance(error, CallFailed)
    assert isinstance(error, HusharError)
    assert str(error) == "UNAVAILABLE: nobody there"


def test_bad_rows_are_the_users_mistake():
    error = BadRows([Problem("rows.json", "line 1", "wrong"), Problem("rows.json", "line 2", "too")])
    assert isinstance(error, ConfigurationError)
    assert str(error) == "rows.json: line 1: wrong\nrows.json: line 2: too"
