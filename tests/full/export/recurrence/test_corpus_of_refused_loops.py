"""The rest of the corpus: loops in other forms, decoders, and calls of `scan`."""

import pytest

from kit.corpus import checking
from kit.corpus.refused_loops import DECODERS, REFUSED_LOOPS
from kit.corpus.scans import SCANS

ROWS = [row for family in (DECODERS, REFUSED_LOOPS, SCANS) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
