"""Rows that are run together, beside those that a file gives for each of them alone."""

import numpy as np
import pytest

from kit.foreign_files import value
from rnnserve.export import ExportError
from rnnserve.export.adoption.file_comparison import QUANTISED, check_rows
from rnnserve.export.adoption.open_axes import open_input
from rnnserve.export.adoption.roles import Roles


@pytest.fixture
def inputs():
    return [open_input(value("x", (1, 4)), Roles(), None, is_lengths=False)]


def runs(by_company):
    """A file of which each row moves by a part of the rows' spread for those beside it."""

    def run(arrays):
        x = arrays["x"].astype(np.float64)
        return {"y": (x + by_company * (len(x) > 1) * np.ptp(x)).astype(np.float32)}

    return run


@pytest.mark.parametrize("allowed", [0.0, QUANTISED])
def test_rows_that_do_not_move_pass(inputs, allowed):
    check_rows(inputs, {"x": 0}, {}, runs(0.0), runs(0.0), allowed=allowed)


def test_rows_move_a_little_where_int8_is_scaled_by_all_of_them_and_nowhere_else(inputs):
    moved = runs(0.02)
    check_rows(inputs, {"x": 0}, {}, moved, moved, allowed=QUANTISED)
    with pytest.raises(ExportError, match='"y" is not what the file gives for each row alone: it differs by'):
        check_rows(inputs, {"x": 0}, {}, moved, moved, allowed=0.0)


def test_rows_that_move_much_are_refused_in_any_file(inputs):
    with pytest.raises(ExportError, match="it differs by"):
        check_rows(inputs, {"x": 0}, {}, runs(0.5), runs(0.5), allowed=QUANTISED)
