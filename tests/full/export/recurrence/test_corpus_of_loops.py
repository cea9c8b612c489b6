"""The rest of the corpus: loops over steps, and the states that they carry."""

import pytest

from kit.corpus import checking
from kit.corpus.loop_states import LOOP_STATES
from kit.corpus.loops import LOOPS

ROWS = [row for family in (LOOPS, LOOP_STATES) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
