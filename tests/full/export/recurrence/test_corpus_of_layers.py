"""The rest of the corpus: recurrent layers, packed sequences and the sizes and numbers around them."""

import pytest

from kit.corpus import checking
from kit.corpus.layers import LAYER_FORMS, LAYERS, USES
from kit.corpus.numbers import COMPLEX, NARROW, SPARSE
from kit.corpus.packed import PACKED
from kit.corpus.refused_layers import REFUSED_LAYERS
from kit.corpus.sizes import PLAIN_SIZES, SIZES

LAYER_FAMILIES = LAYERS, LAYER_FORMS, USES, REFUSED_LAYERS
OTHERS = PACKED, SIZES, PLAIN_SIZES, COMPLEX, NARROW, SPARSE

ROWS = [row for family in (*LAYER_FAMILIES, *OTHERS) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
