"""Modules of the corpus, published and served: each answer is the module's own, alone, in a crowd, and in parts."""

import numpy as np
import pytest

from full.export.served_modules import Served, nasty, publication_of
from kit.corpus.families import ROWS

SERVED = {
    "decoders: greedy": [],
    "plain sizes: looped": ["y"],
    "buffers: field": [],
    "held objects: a decoder, in attribute": ["y"],
}
"""By row, the outputs that are asked for in parts of a sequence, too."""


@pytest.mark.parametrize("name", SERVED)
def test_a_module_is_served_with_its_own_values(name, tmp_path):
    (row,) = [row for row in ROWS if str(row) == name]
    outputs = ["scores", "ids"] if "greedy" in name else ["y"]
    served = Served(publication_of(row.module(), "served", outputs), tmp_path)
    rng = np.random.default_rng(2)
    served.check([*nasty(rng, (1, 13, 3)).values(), *nasty(rng, (1, 1, 3)).values()], in_parts=SERVED[name])
