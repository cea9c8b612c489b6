"""Who gives way where memory is short."""

from rnnserve.server.connections.slow_senders import crowded_first


def test_the_connection_with_most_gives_way_first_and_of_it_what_is_silent_longest():
    silent = [("lone", "a", 1.0), ("late", "b", 3.0), ("later", "b", 4.0), ("first", "b", 2.0), ("other", "c", 0.5)]
    assert crowded_first(silent) == ["first", "late", "later", "other", "lone"]
    assert crowded_first([]) == []
