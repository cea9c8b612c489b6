"""The passes of an export: named where they fail, run in the order of their list, and keeping what they ensure."""

import contextlib
import dataclasses
import re
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.paths import ROOT
from rnnserve.common.refusing_nodes import refusal_of_node
from rnnserve.export import FailedPass, UnsupportedModule, export_onnx, scan
from rnnserve.export.model_onnx import ON_FILE
from rnnserve.export.parity import OnnxRunner
from rnnserve.export.recurrence.exporter_metadata import TRANSLATED_BY
from rnnserve.export.recurrence.graph_pass import GraphPass
from rnnserve.export.recurrence.graph_values import values_of
from rnnserve.export.recurrence.passes import ON_GRAPH, ON_PROGRAM, Captured, Translated
from rnnserve.export.recurrence.scan_markers import DOMAIN

PAGE = ROOT / "docs" / "reference" / "passes.md"

LISTED: tuple[GraphPass[Any], ...] = (*ON_PROGRAM, *ON_GRAPH)

RUN = "rnnserve.export.recurrence.export"

AGAIN = ("guard_empty_axes", "keep_nan", "sum_integers_exactly", "transform_exactly", "compute_float16_in_float32")
"""Passes that add nodes beside those that they find, so that they would find them again."""


class Everything(nn.Module):
    """A module that gives each pass something to do."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 3, batch_first=True)
        self.register_buffer("table", torch.arange(6.0))

    def forward(self, x, lengths, counts):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.gru(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.size(1))
        gates = torch.log(torch.sigmoid(output))
        total, largest = counts.sum(-1), output.amax(-1)
        mask = torch.where(x > 0, x < 1, x > -1)
        spectrum = torch.fft.rfft(x, dim=-1).abs()
        _, summed = scan(lambda states, steps: ([states[0] + steps[0]],) * 2, [h_n[0]], [gates], dim=1)
        double = torch.nn.functional.elu(spectrum.double())
        chosen = x[x > 0].max()
        return h_n, gates, total, largest, mask, double, summed[0], x.half().transpose(1, 2).float() * 2, chosen


OUTPUTS = ["h_n", "gates", "total", "largest", "mask", "double", "summed", "halves", "chosen"]
SHAPES = ({0: "batch", 1: "sequence"}, {0: "batch"}, {0: "batch", 1: "sequence"})


def sample(batch=3, sequence=4):
    random = torch.Generator().manual_seed(0)
    lengths = torch.arange(batch) % sequence + 1
    return torch.randn(batch, sequence, 4, generator=random), lengths, torch.full((batch, sequence), 2**53 + 1)


def export(module):
    return export_onnx(
        module.eval(),
        sample(),
        input_names=["x", "lengths", "counts"],
        output_names=OUTPUTS,
        dynamic_shapes=SHAPES,
    )


class Run:
    """One export, with what each pass got and what it gave, in the order in which they ran."""

    def __init__(self) -> None:
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.program: torch.onnx.ONNXProgram | None = None

    def recorded(self, each: GraphPass) -> GraphPass:
        def run(subject: Captured | Translated) -> None:
            self.before[each.name] = copied(subject)
            each.run(subject)
            self.after[each.name] = copied(subject)

        return dataclasses.replace(each, run=run)


def copied(it: Any) -> Any:
    if isinstance(it, Captured):
        return it
    program = torch.onnx.ONNXProgram(it.model.clone(), it.program.exported_program)
    return Translated(captured=it.captured, program=program)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Everything().eval()


@pytest.fixture(scope="module")
def run(module):
    found = Run()
    with pytest.MonkeyPatch.context() as patch:
        for name, passes in (("ON_PROGRAM", ON_PROGRAM), ("ON_GRAPH", ON_GRAPH)):
            patch.setattr(f"{RUN}.{name}", [found.recorded(each) for each in passes])
        found.program = export(module)
    return found


def nodes(model, *operators):
    return [node for node in model.graph.all_nodes() if node.op_type in operators]


def test_passes_run_in_the_order_of_the_lists(run):
    assert list(run.after) == [each.name for each in LISTED]


def test_the_module_that_all_passes_meet_is_exported_right(run, module):
    arrays = sample(5, 7)
    with torch.no_grad():
        expected = module(*arrays)
    found = OnnxRunner(run.program.model_proto.SerializeToString())(
        dict(zip(("x", "lengths", "counts"), (array.numpy() for array in arrays), strict=True))
    )
    for name, values in zip(OUTPUTS, expected, strict=True):
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("each", [each for each in ON_GRAPH if each.name not in AGAIN], ids=lambda each: each.name)
def test_a_pass_changes_nothing_of_its_own_result(each, run):
    again = copied(run.after[each.name])
    before = str(again.model.graph), dict(again.model.metadata_props)
    each(again)
    assert (str(again.model.graph), dict(again.model.metadata_props)) == before


def no_functions(model):
    assert not model.functions
    assert {node.domain for node in model.graph.all_nodes()} == {"", DOMAIN}


def types_are_told(model):
    untyped = {value.producer().op_type for value in values_of(model) if value.dtype is None}
    assert untyped <= {"Shape", "Squeeze"}  # in the schema of Shape its one type has a letter


def nothing_is_refused(model):
    assert [refusal_of_node(node.name or "") for node in nodes(model, "Reshape")].count("the largest of no values") == 1


def nan_is_kept(model):
    assert any(node.op_type == "IsNaN" for node in model.graph)


def small_sigmoids_are_right(model):
    assert not nodes(model, "Sigmoid")


def integers_are_summed_in_halves(model):
    producers = [node.inputs[0].producer() for node in nodes(model, "ReduceSum")]
    assert {"Div", "Sub"} <= {node.op_type for node in producers if node is not None}


def booleans_are_not_chosen(model):
    assert all(node.outputs[0].dtype != ir.DataType.BOOL for node in nodes(model, "Where"))


def transforms_are_double(model):
    assert nodes(model, "DFT")
    assert all(node.outputs[0].dtype == ir.DataType.DOUBLE for node in nodes(model, "DFT"))


def doubles_have_kernels(model):
    assert not nodes(model, "Elu")


def graph_is_small(model):
    assert not nodes(model, "Identity", "CastLike")
    seen = {
        str((node.op_type, [value and value.name for value in node.inputs], node.attributes)) for node in model.graph
    }
    assert len(seen) == len(model.graph)
    used = [any(output.uses() or output in model.graph.outputs for output in node.outputs) for node in model.graph]
    assert all(used)


def interface_is_named(model):
    assert [value.name for value in model.graph.inputs] == ["x", "lengths", "counts"]
    assert [value.name for value in model.graph.outputs] == OUTPUTS
    names = [value.name for value in values_of(model)]
    assert all(names.count(name) == 1 for name in ("x", "lengths", "counts", *OUTPUTS))


def scans_are_scans(model):
    assert len(nodes(model, "Scan")) == 1
    assert DOMAIN not in model.opset_imports


def axes_are_named(model):
    sizes = [size for value in values_of(model) if value.shape is not None for size in value.shape]
    words = {word for size in sizes for word in re.findall(r"[A-Za-z_]\w*", str(size))}
    assert {"batch", "sequence"} <= words
    assert not {word for word in words if re.fullmatch(r"s\d+", word)}


def weights_are_initializers(model):
    (gru,) = nodes(model, "GRU")
    assert [value.name for value in gru.inputs[1:4]] == ["GRU_0/W", "GRU_0/R", "GRU_0/B"]
    assert all(value.name in model.graph.initializers for value in gru.inputs[1:4])


def halves_are_at_the_edges(model):
    halves = [value for value in values_of(model) if value.dtype == ir.DataType.FLOAT16]
    assert halves
    assert all(value.producer().op_type == "Cast" for value in halves)
    assert all(user.op_type == "Cast" for value in halves for user, _ in value.uses())


def casts_come_first(model):
    produced = [node.inputs[0].producer() for node in nodes(model, "Cast")]
    assert "Transpose" not in {node.op_type for node in produced if node is not None}
    assert nodes(model, "Transpose")


def carrying_nodes_have_paths(model):
    carrying = [node for node in model.graph if node.op_type in ("RNN", "GRU", "LSTM")]
    assert carrying
    assert all("/" in node.name for node in carrying)


def nothing_tells_of_the_machine(model):
    assert model.doc_string is None
    assert set(model.metadata_props) <= {TRANSLATED_BY}
    assert not any(node.metadata_props or node.doc_string for node in model.graph.all_nodes())
    assert not any(value.metadata_props or value.doc_string for value in values_of(model))


def graph_is_marked(model):
    assert model.metadata_props[TRANSLATED_BY] == "1"


ENSURED = {
    "inline_functions": no_functions,
    "fill_types": types_are_told,
    "guard_empty_axes": nothing_is_refused,
    "keep_nan": nan_is_kept,
    "sharpen_sigmoids": small_sigmoids_are_right,
    "sum_integers_exactly": integers_are_summed_in_halves,
    "choose_booleans": booleans_are_not_chosen,
    "transform_exactly": transforms_are_double,
    "write_out_doubles": doubles_have_kernels,
    "simplify_exactly": graph_is_small,
    "name_interface": interface_is_named,
    "translate_scans": scans_are_scans,
    "name_axes": axes_are_named,
    "fold_weights": weights_are_initializers,
    "compute_float16_in_float32": halves_are_at_the_edges,
    "cast_before_transposing": casts_come_first,
    "name_after_modules": carrying_nodes_have_paths,
    "remove_metadata": nothing_tells_of_the_machine,
    "mark_translations": graph_is_marked,
}
"""By pass, what holds after it. Refusals and checks have tests of their own."""


@pytest.mark.parametrize("name", ENSURED)
def test_what_a_pass_ensures_holds_after_it(name, run):
    ENSURED[name](run.after[name].model)


CHECKS = {"refuse_state", "refuse_carried_state", "check_other_sizes", "check_postconditions", "check_other_paths"}


def test_every_pass_that_changes_the_graph_is_looked_at():
    assert {each.name for each in ON_GRAPH} == ENSURED.keys() | CHECKS


@pytest.mark.parametrize("name", [name for name in ENSURED if name != "inline_functions"])
def test_it_did_not_hold_before(name, run):
    """So that what is looked at can fail, and the module gives every pass something to do.

    torch 2.13 leaves no call of a function in a graph, as far as is known; versions before it did.
    """
    with pytest.raises((AssertionError, KeyError)):
        ENSURED[name](run.before[name].model)


@pytest.mark.parametrize("listed", ["ON_PROGRAM", "ON_GRAPH"])
def test_a_pass_that_fails_is_named(listed, monkeypatch):
    def fail(_: object) -> None:
        raise TypeError("unhashable\n   value")

    monkeypatch.setattr(f"{RUN}.{listed}", [GraphPass("turn_round", "All is round.", fail)])
    with pytest.raises(FailedPass) as raised:
        export_onnx(
            nn.GRU(3, 2).eval(),
            (torch.randn(2, 3, 3),),
            input_names=["x"],
            output_names=["y", "h_n"],
            dynamic_shapes=({1: "batch"},),
        )
    assert raised.value.name == "turn_round"
    assert isinstance(raised.value.__cause__, TypeError)
    said = r"^the export's pass turn_round failed: TypeError: unhashable value \(line \d+ of .*test_passes\.py\)\. It "
    assert re.match(said + r"ensures: All is round\. ", str(raised.value))


def test_a_refusal_keeps_its_words():
    def refuse(_: object) -> None:
        raise UnsupportedModule("no form in ONNX")

    with pytest.raises(UnsupportedModule) as raised:
        GraphPass("turn_round", "All is round.", refuse)(None)
    assert str(raised.value) == "no form in ONNX"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()])
def test_failures_of_the_surroundings_stay_what_they_are(error):
    def fail(_: object) -> None:
        raise error

    with contextlib.suppress(FailedPass), pytest.raises(type(error)) as raised:
        GraphPass("turn_round", "All is round.", fail)(None)
    assert raised.value is error


def test_the_page_has_the_passes_in_their_order():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(each.name, each.ensures) for each in [*LISTED, *ON_FILE]]
