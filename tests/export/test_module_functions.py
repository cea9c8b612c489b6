"""How far the functions and variables of a module are followed: not into pytest's, and not into data."""

from rnnserve.export.module_functions import names_in
from rnnserve.export.outer_variables import containers_of_outer

COUNT = 0


def test_a_variable_with_very_many_entries_is_data_and_is_not_looked_into():
    """A global configuration may lead to all that a program has: publishing walked it for every call."""
    assert containers_of_outer([{"a": [1]}, {2}]) == [[{"a": [1]}, {2}], {2}, {"a": [1]}, [1]]
    assert containers_of_outer([[0] * 10 for _ in range(2000)]) == []
    assert containers_of_outer(dict.fromkeys(range(10_001))) == []


def test_names_that_no_source_can_have_are_none_of_the_users():
    """pytest writes `@pytest_ar` into functions with an assert, by which all of pytest was taken for the user's."""

    def function(value):
        assert value
        return COUNT, value.attribute

    assert any(not name.isidentifier() for name in function.__code__.co_names)
    assert names_in(function.__code__) >= {"COUNT", "attribute"}
    assert all(map(str.isidentifier, names_in(function.__code__)))
