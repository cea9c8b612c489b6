"""The rest of the corpus: recurrent layers, and what is around them."""

import pytest

from kit.corpus import checking
from kit.corpus.layers import LAYER_FORMS, LAYERS, USES

ROWS = [row for family in (LAYERS, LAYER_FORMS, USES) for row in family]


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=False), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=False), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""
