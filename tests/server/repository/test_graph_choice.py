"""What is found of a version is written and read."""

import json

from rnnserve.server.batching.planning import Cost
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import NATIVE, SCANNED, GraphChoice

FOUND = Findings("d" * 64, GraphChoice(SCANNED, "since so"), Cost(1.0, 2.0, 3.0, 4.0), True, False, True, True, "")


def test_each_graph_has_its_file():
    assert [GraphChoice(name, "").file for name in (NATIVE, SCANNED)] == ["model.onnx", "model.scan.onnx"]


def test_a_choice_in_words():
    assert str(GraphChoice(NATIVE, "since it has none")) == "graph native, since it has none"


def test_findings_with_a_choice_are_written_and_read():
    assert Findings.from_fields(json.loads(json.dumps(FOUND.as_fields()))) == FOUND
