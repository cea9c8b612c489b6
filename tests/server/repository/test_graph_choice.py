"""What is found of a version is written and read. Pins of a supervisor that is older, too."""

import json

from rnnserve.server.batching.cost import Cost
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import NATIVE, SCANNED, GraphChoice
from rnnserve.server.repository.pins import Pin, read_pins

FOUND = Findings("d" * 64, GraphChoice(SCANNED, "since so"), Cost(1.0, 2.0, 3.0, 4.0), True, False, True, True, "")


def test_each_graph_has_its_file():
    assert [GraphChoice(name, "").file for name in (NATIVE, SCANNED)] == ["model.onnx", "model.scan.onnx"]


def test_a_choice_in_words():
    assert str(GraphChoice(NATIVE, "since it has none")) == "graph native, since it has none"


def test_findings_with_a_choice_are_written_and_read():
    assert Findings.from_fields(json.loads(json.dumps(FOUND.as_fields()))) == FOUND


def test_pins_of_an_older_supervisor_may_have_more_fields():
    pin = {"digest": "d", "reason": "", "graph": "native"}
    text = json.dumps({"a": {"versions": {"1": pin}, "reason": "", "is_needed": True}})
    assert read_pins(text)["a"].versions[1] == Pin("d")
