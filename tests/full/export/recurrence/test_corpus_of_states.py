"""The rest of the corpus: states outside of a forward, and values that it asks for."""

import pytest

from kit.corpus import checking
from kit.corpus.buffers import BUFFERS, HELD_VALUES
from kit.corpus.outside_states import HELD_OBJECTS, OUTER_VARIABLES
from kit.corpus.values import VALUES

ROWS = [row for family in (BUFFERS, HELD_OBJECTS, HELD_VALUES, OUTER_VARIABLES, VALUES) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
