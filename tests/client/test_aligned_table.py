from rnnserve.client.aligned_table import format_aligned_table


def test_table_aligns_text_left_and_numbers_right_and_keeps_cells():
    rows = [("a", "1,000", "x"), ("  b", "1.50", ""), ("c", "007", "")]
    assert format_aligned_table(("name", "count", "label"), rows, (0, 2)).splitlines() == [
        "name  count  label",
        "a     1,000  x",
        "  b    1.50",
        "c       007",
    ]
