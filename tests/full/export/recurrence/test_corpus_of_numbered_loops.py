"""The rest of the corpus: loops by number, and numbers of steps."""

import pytest

from kit.corpus import checking
from kit.corpus.numbered_loops import NUMBERED_LOOPS, STEP_NUMBERS

ROWS = [row for family in (NUMBERED_LOOPS, STEP_NUMBERS) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
