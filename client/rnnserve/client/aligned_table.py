"""Aligned tables for a terminal; the commands `infer` and `load` print them."""

from collections.abc import Sequence

__all__ = ["format_aligned_table"]


def format_aligned_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)
) -> str:
    """Return a table, two spaces between columns and no trailing spaces.

    Args:
        columns: The headings.
        rows: The cells of each row, as they are to appear.
        text_columns: Indices of left-aligned columns; the others hold numbers and are right-aligned.
    """
    from tabulate import tabulate  # 20 ms, which help and JSON do not need

    sides = ["left" if index in text_columns else "right" for index in range(len(columns))]
    text = tabulate(
        [columns, *rows],  # headings as a row: tabulate would pad them by two spaces
        tablefmt="plain",
        colalign=sides,
        disable_numparse=True,  # cells are formatted already
        preserve_whitespace=True,  # spaces indent a row
    )
    return "\n".join(line.rstrip() for line in text.splitlines())
