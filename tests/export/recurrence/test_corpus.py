"""The corpus's core: one module of each mechanism, exported and compared with eager, and the usual refusals."""

import pytest

from kit.corpus import checking
from kit.corpus.families import ROWS
from kit.corpus.longest_rows import LONGEST_ROWS
from rnnserve.export import ExportError, Floats, Lengths, publish
from rnnserve.protos import manifest_pb2


@pytest.mark.parametrize("rows", checking.batches(ROWS, core=True), ids=lambda rows: rows[0].family)
def test_modules_equal_eager_at_other_sizes(rows):
    checking.check_right(rows)


@pytest.mark.parametrize("row", checking.refusals(ROWS, core=True), ids=str)
def test_module_is_refused_with_its_reason(row, capsys):
    checking.check_refused(row)
    assert "".join(capsys.readouterr()) == ""  # torch prints the graph that it could not capture


def test_modules_that_use_the_longest_length_share_batches(tmp_path):
    rows = [row for row in LONGEST_ROWS if row.is_core and not row.refused]
    manifest = checking.check_published(rows, tmp_path)
    assert manifest.batching.mode == manifest_pb2.BATCHING_PADDED


def test_module_that_reads_lengths_one_by_one_is_refused(tmp_path):
    (row,) = [row for row in LONGEST_ROWS if row.refused]
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    with pytest.raises(ExportError, match=row.refused):
        publish(row.module(), "rows", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
