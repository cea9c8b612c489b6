"""The rest of the corpus: complex numbers, other types of floats, sparse weights, and refused layers."""

import pytest

from kit.corpus import checking
from kit.corpus.numbers import COMPLEX, NARROW, SPARSE
from kit.corpus.refused_layers import REFUSED_LAYERS

ROWS = [row for family in (COMPLEX, NARROW, SPARSE, REFUSED_LAYERS) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
