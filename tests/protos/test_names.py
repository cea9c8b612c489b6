"""What a model and a version may be called in a repository."""

from rnnserve.protos.names import is_model_name, version_number


def test_model_names_have_only_letters_digits_and_a_few_signs():
    right = ["direction_simple", "a", "Z", "0", "Walks-2.1", "_x", "x_"]
    wrong = ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", 'a"b', "a\n", "-x", "é", "aé", "x/"]
    assert [name for name in right + wrong if is_model_name(name)] == right


def test_version_names_are_positive_decimal_numbers():
    assert [version_number(name) for name in ("1", "9", "10", "123456")] == [1, 9, 10, 123456]
    others = ["0", "01", "00", "-1", "+1", "1.0", "1_0", "x", "1x", "", "²", "\N{ARABIC-INDIC DIGIT ONE}", " 1", "1\n"]
    assert [name for name in others if version_number(name) is not None] == []
