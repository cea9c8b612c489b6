"""The rest of the corpus: loops over steps, `scan`, and states outside of a forward."""

import pytest

from kit.corpus import checking
from kit.corpus.buffers import BUFFERS, HELD_VALUES
from kit.corpus.loop_states import LOOP_STATES
from kit.corpus.loops import LOOPS
from kit.corpus.numbered_loops import NUMBERED_LOOPS, STEP_NUMBERS
from kit.corpus.outside_states import HELD_OBJECTS, OUTER_VARIABLES
from kit.corpus.refused_loops import DECODERS, REFUSED_LOOPS
from kit.corpus.scans import SCANS
from kit.corpus.values import VALUES

OF_LOOPS = LOOPS, LOOP_STATES, NUMBERED_LOOPS, STEP_NUMBERS, REFUSED_LOOPS, DECODERS, SCANS
OF_STATES = BUFFERS, HELD_VALUES, OUTER_VARIABLES, HELD_OBJECTS, VALUES

ROWS = [row for family in (*OF_LOOPS, *OF_STATES) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
