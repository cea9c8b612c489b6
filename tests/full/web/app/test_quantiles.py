"""What the page makes of counts by bucket: the quantiles that Prometheus would give."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from rnnserve.web import app

MODULE = Path(app.__file__).parent / "static" / "numbers.js"


@pytest.fixture(scope="module")
def evaluate():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; tests/web/test_page_in_browser.py tries the page, too")

    def evaluate(expression):
        program = f"import * as q from {json.dumps(MODULE.as_uri())}; console.log(JSON.stringify({expression}))"
        command = [node, "--input-type=module", "--eval", program]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    return evaluate


def test_quantiles_match_their_definition(evaluate):
    buckets = [[2, 5, 10], [0, 1, 10], [1, 2, 0], [5, 0, 0]]
    rest = [[1, 2, 90], [10, 0, 10]]  # a tenth is above all bounds: no more is known of them
    asked = [f"q.quantile({share}, {json.dumps(of)})" for of, share in
             [(buckets, 0), (buckets, 0.25), (buckets, 0.5), (buckets, 0.75), (buckets, 1), (rest, 0.5), (rest, 0.99),
              ([], 0.5), ([[0, 1, 0]], 0.5)]]  # fmt: skip
    found = evaluate(f"[{', '.join(asked)}]")
    assert found == pytest.approx([0, 0.5, 1, 3.5, 5, 1 + 50 / 90, 10, None, None])
