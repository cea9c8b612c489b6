"""Which graph serves: by what is asked for, by what was chosen before, else by measured costs and a stated rule."""

import dataclasses
import json

import pytest

from rnnserve.server.repository.decided_graphs import DecidedGraphs
from rnnserve.server.repository.findings import Findings
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED, GraphChoice, choose_graph
from rnnserve.server.repository.pins import ModelPins, Pin, dump_pins, read_pins
from support.fake_trials import FOUND


def costs(*ratios):
    """Costs of as many sizes, of which scan takes a hundred microseconds each."""
    return {
        "native": {f"2x{number}": 100.0 * ratio for number, ratio in enumerate(ratios)},
        "scan": {f"2x{number}": 100.0 for number in range(len(ratios))},
    }


@pytest.mark.parametrize(
    ("ratios", "chosen"),
    [
        ((1.11,), SCANNED),
        ((1.09,), NATIVE),
        ((0.4, 4.0), SCANNED),  # 1.26 times in the geometric mean, though one size is slower
        ((0.25, 4.0), NATIVE),  # each size counts the same, however long its runs are
        ((0.5, 0.5, 9.0), SCANNED),
        ((1.0, 1.0, 1.2), NATIVE),
    ],
)
def test_scan_serves_from_a_clear_gain_on(ratios, chosen):
    found = choose_graph(AUTO, None, "", costs(*ratios))
    assert found.name == chosen
    assert found.microseconds == costs(*ratios)
    assert "times as fast as native, and serves from 1.1 on" in found.reason


def test_what_is_asked_for_is_not_measured():
    assert choose_graph(NATIVE, SCANNED, "", {}) == GraphChoice(NATIVE, "since --graph native asks for it")
    assert choose_graph(SCANNED, NATIVE, "", {}) == GraphChoice(SCANNED, "since --graph scan asks for it")


@pytest.mark.parametrize("asked", [AUTO, SCANNED])
def test_where_scan_cannot_be_had_native_serves_and_says_why(asked):
    found = choose_graph(asked, SCANNED, "it has no model.scan.onnx", {})
    assert found == GraphChoice(NATIVE, "since it has no model.scan.onnx")


@pytest.mark.parametrize("decided", [NATIVE, SCANNED])
def test_what_was_chosen_before_stays_whatever_is_measured_now(decided):
    for ratio in (0.5, 2.0):
        found = choose_graph(AUTO, decided, "", costs(ratio))
        assert found.name == decided
        assert found.reason == (
            f"as it was chosen for this version before; here scan is {ratio:.2f} times as fast as native, and serves "
            "from 1.1 on"
        )


def test_each_graph_has_its_file():
    assert [GraphChoice(name, "").file for name in (NATIVE, SCANNED)] == ["model.onnx", "model.scan.onnx"]


def test_a_choice_in_words():
    assert str(GraphChoice(NATIVE, "since it has none")) == "graph native, since it has none"
    assert str(GraphChoice(SCANNED, "since so", costs(1.5, 2.0))) == (
        "graph scan, since so; microseconds by rows x steps: native 2x0 150, 2x1 200; scan 2x0 100, 2x1 100"
    )


def test_findings_with_a_choice_are_written_and_read():
    found = dataclasses.replace(FOUND, graph=GraphChoice(SCANNED, "since so", costs(1.5)))
    assert Findings.from_fields(json.loads(json.dumps(found.as_fields()))) == found


def test_decided_graphs_are_kept_by_model_and_digest():
    decided = DecidedGraphs()
    assert decided.find("a") == {}
    decided.remember("a", "d1", SCANNED)
    pins = {
        "a": ModelPins({2: Pin("d2", graph=NATIVE), 3: Pin("", "does not serve")}),
        "b": ModelPins({1: Pin("d1", graph=NATIVE)}),
    }
    decided.take(read_pins(dump_pins(pins)))
    again = DecidedGraphs(decided.dump())
    assert again.find("a") == {"d1": SCANNED, "d2": NATIVE}
    assert again.find("b") == {"d1": NATIVE}


def test_pins_of_older_workers_have_no_graph():
    text = json.dumps({"a": {"versions": {"1": {"digest": "d", "reason": ""}}, "reason": "", "is_needed": True}})
    assert read_pins(text)["a"].versions[1] == Pin("d")
