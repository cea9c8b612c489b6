from rnnserve.client.aligned_table import format_aligned_table


def test_text_is_left_aligned_and_numbers_are_right_aligned():
    table = format_aligned_table(("name", "count", "label"), [("a", "1,000", "x"), ("  b", "7", "")], (0, 2))
    assert table.splitlines() == [
        "name  count  label",
        "a     1,000  x",
        "  b       7",
    ]


def test_cells_appear_as_they_are():
    assert format_aligned_table(("n",), [("1.50",), ("1e3",), ("007",)]).splitlines() == ["n", "1.50", "1e3", "007"]
