"""Aligned text tables for the terminal output of commands."""

from collections.abc import Sequence

__all__ = ["format_aligned_table"]


def format_aligned_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Sequence[int] = (0,)
) -> str:
    """Return a table with two spaces between columns and no trailing spaces.

    Args:
        columns: The headings.
        rows: The cells of each row, already formatted.
        text_columns: Indices of the left-aligned columns. The other columns contain numbers and are right-aligned.
    """
    from tabulate import tabulate  # takes 20 ms, and neither --help nor JSON output needs it

    sides = ["left" if index in text_columns else "right" for index in range(len(columns))]
    text = tabulate(
        [columns, *rows],  # headings as a row, because tabulate would pad real headings by two spaces
        tablefmt="plain",
        colalign=sides,
        disable_numparse=True,  # the cells are already formatted
        preserve_whitespace=True,  # leading spaces indent a row
    )
    return "\n".join(line.rstrip() for line in text.splitlines())
