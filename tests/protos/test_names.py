"""What a model and a version may be called in a repository."""

import pytest

from rnnserve.protos.names import is_model_name, version_number


@pytest.mark.parametrize("name", ["direction_simple", "a", "Z", "0", "Walks-2.1", "_x", "x_"])
def test_names_that_a_model_may_have(name):
    assert is_model_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", 'a"b', "a\n", "-x", "é", "aé", "x/"])
def test_names_that_a_model_may_not_have(name):
    assert not is_model_name(name)


@pytest.mark.parametrize(("name", "number"), [("1", 1), ("9", 9), ("10", 10), ("123456", 123456)])
def test_the_number_of_a_version(name, number):
    assert version_number(name) == number


@pytest.mark.parametrize(
    "name",
    ["0", "01", "00", "-1", "+1", "1.0", "1_0", "x", "1x", "", "²", "\N{ARABIC-INDIC DIGIT ONE}", ".1", " 1", "1\n"],
)
def test_names_that_are_no_version(name):
    assert version_number(name) is None
