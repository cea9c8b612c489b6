"""Files with planted faults, and other exporters' files: each fault is named, and right files are right."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.cli import main
from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.described_model import describe_model
from rnnserve.export.diagnosis import CheckedFile, check_file
from rnnserve.export.pipeline import to_onnx

SIZES = {"batch": (1, 5), "sequence": (1, 16)}


class Tagger(nn.Module):
    def __init__(self, cell=nn.GRU, directions=2):
        super().__init__()
        torch.manual_seed(3)
        self.cell = cell(3, 4, batch_first=True, bidirectional=directions == 2)
        self.head = nn.Linear(4 * directions, 2)

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.cell(packed)[0], batch_first=True, total_length=input.size(1))
        return self.head(output).tanh()


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, input, state=None):
        output, state = self.lstm(input, state)
        return self.head(output), state


def tagger(cell=nn.GRU, directions=2):
    inputs = {"input": Floats("batch", "sequence", ("features", 3)), "lengths": Lengths()}
    return Publication(Tagger(cell, directions), "tagger", inputs, ["scores"], sizes=SIZES)


def forecaster():
    state = Floats(("layers", 2), "batch", ("hidden", 4))
    return Publication(
        Forecaster(),
        "forecaster",
        {"input": Floats("batch", "sequence", ("features", 3)), "state": {"h_0": state, "c_0": state}},
        ["values", "h_n", "c_n"],
        states={"h_n": "h_0", "c_n": "c_0"},
        sizes=SIZES,
    )


def exported(publication):
    """Our own export of a publication, to be changed."""
    return onnx.load_model_from_string(exported_bytes(publication))


EXPORTED = {}


def exported_bytes(publication):
    known = str(publication.module)
    if known not in EXPORTED:
        EXPORTED[known] = to_onnx(describe_model(publication))
    return EXPORTED[known]


def checked(tmp_path, model, publication):
    path = tmp_path / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return check_file(path, publication, progress=False)


def recurrent(model):
    return next(node for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM"))


def attribute(node, name):
    return next(attribute for attribute in node.attribute if attribute.name == name)


def change_weights(model, change):
    """Change W, R and B (directions, gates * hidden, …) of the first recurrent operator."""
    node = recurrent(model)
    for tensor in model.graph.initializer:
        if tensor.name in node.input[1:4]:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)).copy(), tensor.name))


def gates_swapped(array, gates, one, other):
    """Swap two gates in W, R or B, (directions, gates * hidden, …) or (directions, 2 * gates * hidden)."""
    blocks = np.split(array, gates if array.ndim == 3 else 2 * gates, axis=1)
    for start in range(0, len(blocks), gates):
        blocks[start + one], blocks[start + other] = blocks[start + other], blocks[start + one]
    return np.concatenate(blocks, axis=1)


def drop_lengths(model):
    recurrent(model).input[4] = ""


def make_batch_first(model):
    attributes = recurrent(model).attribute
    kept = [each for each in attributes if each.name != "layout"]
    del attributes[:]
    attributes.extend([*kept, onnx.helper.make_attribute("layout", 1)])


def wrong_reset(model):
    attribute(recurrent(model), "linear_before_reset").i = 0


def swap_directions(model):
    change_weights(model, lambda array: array[::-1])


def freeze_batch(model):
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_value = 3


def freeze_length(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


def clip(model):
    recurrent(model).attribute.append(onnx.helper.make_attribute("clip", 0.05))


def change_head(model):
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.shape == (2,):
            tensor.CopyFrom(numpy_helper.from_array(array + np.float32(0.25), tensor.name))


FAULTS = {
    "linear_before_reset": (wrong_reset, ["linear_before_reset=0", "the first node whose result differs"]),
    "no sequence_lens": (drop_lengths, ["no sequence_lens: it ignores the lengths", "whose result differs"]),
    "layout": (make_batch_first, ["(GRU) has layout=1, which onnxruntime does not run"]),
    "directions": (swap_directions, ["has its two directions swapped", "whose result differs"]),
    "batch": (freeze_batch, ['frozen batch: axis 0 of input "input" is always 3']),
    "length": (freeze_length, ['frozen length: axis 1 of input "input" is always 5']),
    "clip": (clip, ["has clip=0.05"]),
    "gates": (
        lambda model: change_weights(model, lambda array: gates_swapped(array, 3, 0, 1)),
        ["has its gates in the order r, z, h; ONNX's is z, r, h"],
    ),
    "head": (change_head, ['the first node whose result differs is the node "']),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_named(fault, tmp_path):
    plant, named = FAULTS[fault]
    model = exported(tagger())
    plant(model)
    faults = checked(tmp_path, model, tagger()).faults
    assert all(any(part in found for found in faults) for part in named), faults


def test_a_fault_in_the_head_is_not_blamed_on_the_recurrence(tmp_path):
    model = exported(tagger())
    change_head(model)
    faults = checked(tmp_path, model, tagger()).faults
    walked = next(fault for fault in faults if "the first node" in fault)
    assert "(GRU)" not in walked, walked
    assert "scores" in faults[-1]


def test_a_fault_in_the_recurrence_is_found_there(tmp_path):
    model = exported(tagger())
    wrong_reset(model)
    walked = [fault for fault in checked(tmp_path, model, tagger()).faults if "the first node" in fault]
    assert len(walked) == 1
    assert "(GRU)" in walked[0]


def test_gates_of_an_lstm_in_the_order_of_pytorch(tmp_path):
    model = exported(tagger(nn.LSTM))
    torch_order = lambda array: np.concatenate(  # noqa: E731 - i, f, c, o
        [
            np.concatenate([np.split(half, 4, 1)[at] for at in (0, 2, 3, 1)], 1)
            for half in np.split(array, 1 if array.ndim == 3 else 2, 1)
        ],
        1,
    )
    change_weights(model, torch_order)
    faults = checked(tmp_path, model, tagger(nn.LSTM)).faults
    assert any("gates in the order i, f, c, o; ONNX's is i, o, f, c" in fault for fault in faults), faults


def test_one_direction_backwards_is_named(tmp_path):
    model = exported(tagger(directions=1))
    node = recurrent(model)
    kept = [each for each in node.attribute if each.name != "direction"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("direction", "reverse")])
    faults = checked(tmp_path, model, tagger(directions=1)).faults
    assert any('has direction "reverse"; the module\'s layer is "forward"' in fault for fault in faults), faults


def test_an_ignored_state_is_named(tmp_path):
    model = exported(forecaster())
    recurrent(model).input[5] = ""
    faults = checked(tmp_path, model, forecaster()).faults
    assert any("it ignores the initial state" in fault for fault in faults), faults


def rename_inputs_of_nodes(model, names):
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)


def test_swapped_states_are_named(tmp_path):
    model = exported(forecaster())
    rename_inputs_of_nodes(model, {"h_0": "c_0", "c_0": "h_0"})
    faults = checked(tmp_path, model, forecaster()).faults
    assert "has initial_h and initial_c swapped" in faults[0]


def test_swapped_outputs_are_named(tmp_path):
    model = exported(forecaster())
    first, second = model.graph.output[1:]
    first.name, second.name = second.name, first.name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = {"h_n": "c_n", "c_n": "h_n"}.get(name, name)
    faults = checked(tmp_path, model, forecaster()).faults
    assert faults[0] == 'output "h_n" gives what the module gives as "c_n": are two outputs swapped?'
    assert not any("the first node" in fault for fault in faults)


def test_the_second_layer_is_blamed_and_not_the_first(tmp_path):
    model = exported(forecaster())
    nodes = [node for node in model.graph.node if node.op_type == "LSTM"]
    nodes[1].attribute.append(onnx.helper.make_attribute("clip", 0.05))
    faults = checked(tmp_path, model, forecaster()).faults
    title = f'node "{nodes[1].name}" (LSTM)'
    assert faults[0].startswith(f"{title} has clip=0.05")
    assert faults[1].startswith(f"the first node whose result differs is the {title}, ")


def test_a_fault_after_a_trace_that_sorts_rows(tmp_path):
    """Torch's tracing exporter sorts rows by their lengths, so that every node gives another order than ours."""
    publication = tagger(nn.LSTM)
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3), torch.tensor([5, 3, 2])),
        dynamo=False,
        input_names=["input", "lengths"],
        output_names=["scores"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}},
    )
    model = onnx.load_model_from_string(data)
    drop_lengths(model)
    faults = checked(tmp_path, model, publication).faults
    assert "has no sequence_lens" in faults[0]
    assert "(LSTM)" in next(fault for fault in faults if "the first node" in fault)


def test_right_exports_are_right(tmp_path):
    assert checked(tmp_path, exported(tagger()), tagger()) == CheckedFile([], [])
    assert checked(tmp_path, exported(forecaster()), forecaster()).faults == []


def test_other_names_are_matched_in_order(tmp_path):
    model = exported(tagger())
    text = model.SerializeToString()
    renamed = onnx.load_model_from_string(text)
    for value, name in zip((*renamed.graph.input, *renamed.graph.output), ("x", "n", "y"), strict=True):
        before = value.name
        value.name = name
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "sequence":
                dim.dim_param = "time"
        for node in renamed.graph.node:
            for names in (node.input, node.output):
                for at, each in enumerate(names):
                    if each == before:
                        names[at] = name
    found = checked(tmp_path, renamed, tagger())
    assert found.faults == []
    assert 'input "x" is compared with the module\'s "input", by order' in found.differences
    assert any('named "time"' in difference for difference in found.differences)


def test_other_integers_are_cast(tmp_path):
    model = exported(tagger())
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['input "lengths" is int32; the module takes int64'], [])


def test_weights_beside_the_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(exported(tagger()), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert check_file(path, tagger(), progress=False).faults == []


def drop_output(model):
    model.graph.output.pop()


def add_input(model):
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["batch"]))


def add_output(model):
    model.graph.output.append(onnx.helper.make_tensor_value_info("linear", onnx.TensorProto.FLOAT, [None] * 3))


def drop_axis(model):
    del model.graph.input[0].type.tensor_type.shape.dim[2]


def change_features(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 7


INTERFACES = {
    "no output": (forecaster, drop_output, 'missing output: nothing gives the module\'s "c_n"'),
    "one input more": (tagger, add_input, 'input "more" has no counterpart in the module, so it cannot be run'),
    "two axes": (tagger, drop_axis, 'input "input" has 2 axes; expected 3: (batch, sequence, features)'),
    "features": (tagger, change_features, 'axis 2 of input "input", "features", is 7; in the module it is 3'),
}


def test_an_output_more_is_no_fault(tmp_path):
    model = exported(tagger())
    add_output(model)
    found = checked(tmp_path, model, tagger())
    assert found == CheckedFile(['output "linear" has no counterpart in the module, and is not compared'], [])


@pytest.mark.parametrize("what", INTERFACES)
def test_other_tensors_are_faults(what, tmp_path):
    publication, change, fault = INTERFACES[what]
    model = exported(publication())
    change(model)
    assert fault in checked(tmp_path, model, publication()).faults


def export_by_torch(module, arguments, **options):
    file: Any = io.BytesIO()  # torch takes one, its annotations do not say it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, file, verbose=False, **options)
    return file.getvalue()


def test_the_tracing_exporter_with_packed_sequences(tmp_path):
    publication = tagger(nn.LSTM)
    arguments = (torch.zeros(3, 5, 3), torch.tensor([5, 3, 2]))
    axes = {"input": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}}
    data = export_by_torch(
        publication.module,
        arguments,
        dynamo=False,
        input_names=["input", "lengths"],
        output_names=["scores"],
        dynamic_axes=axes,
    )
    assert checked(tmp_path, data, publication).faults == []


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        output, _ = self.gru(input)
        return output.sum(1) / len(input[0]), output[:, 0]


def test_a_length_that_tracing_froze_inside(tmp_path):
    """The axes are named dynamic, and the graph divides by the sample's length."""
    inputs = {"input": Floats("batch", "sequence", ("features", 3))}
    publication = Publication(Mean(), "mean", inputs, ["mean", "first"], sizes=SIZES)
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["mean", "first"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    assert checked(tmp_path, data, publication).faults == [
        'frozen length: its values are right only with "sequence" 5, not with 1'
    ]


def test_the_tracing_exporter_without_states_or_lengths(tmp_path):
    publication = forecaster()
    data = export_by_torch(
        publication.module,
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["values", "h_n", "c_n"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    faults = checked(tmp_path, data, publication).faults
    assert [fault.split(",")[0] for fault in faults if fault.startswith("missing state")] == [
        'missing state: no input stands for "h_0"',
        'missing state: no input stands for "c_0"',
    ]


class WithoutLengths(nn.Module):
    def __init__(self, tagger):
        super().__init__()
        self.tagger = tagger

    def forward(self, input):
        return self.tagger.head(self.tagger.cell(input)[0]).tanh()


def test_an_export_without_lengths(tmp_path):
    data = export_by_torch(
        WithoutLengths(tagger().module),
        (torch.zeros(3, 5, 3),),
        dynamo=False,
        input_names=["input"],
        output_names=["scores"],
        dynamic_axes={"input": {0: "batch", 1: "sequence"}},
    )
    faults = checked(tmp_path, data, tagger()).faults
    assert len(faults) == 1
    assert faults[0].startswith('missing lengths: no input stands for "lengths"')


def test_the_default_exporter_freezes_sizes(tmp_path):
    publication = Publication(
        nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True),
        "lstm",
        {"input": Floats("batch", "sequence", ("features", 3))},
        ["output", "h_n", "c_n"],
        sizes=SIZES,
    )
    data = export_by_torch(
        publication.module, (torch.zeros(3, 5, 3),), dynamo=True, input_names=["input"], external_data=False
    )
    faults = checked(tmp_path, data, publication).faults
    assert any(fault.startswith("frozen batch: ") for fault in faults), faults
    assert any(fault.startswith("frozen length: ") for fault in faults), faults


def test_the_command(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom rnnserve.export import Floats, Publication\n"
        "torch.manual_seed(0)\n"
        "inputs = {'input': Floats('batch', 'sequence', ('features', 2))}\n"
        "one = Publication(nn.GRU(2, 3, batch_first=True), 'one', inputs, ['output', 'h_n'],\n"
        "                  sizes={'batch': (1, 4), 'sequence': (1, 8)})\n"
        "both = [one, Publication(nn.RNN(2, 3, batch_first=True), 'other', inputs, ['output', 'h_n'])]\n"
    )
    from rnnserve.export.publication_targets import load_publications

    path = tmp_path / "gru.onnx"
    model = exported(load_publications(f"{tmp_path / 'mine.py'}:one")[0])
    path.write_bytes(model.SerializeToString())
    target = f"{tmp_path / 'mine.py'}"
    assert main(["check", str(path), "--against", f"{target}:one"]) == 0
    assert capsys.readouterr().out == f"{path} computes what the module computes\n"
    wrong_reset(model)
    path.write_bytes(model.SerializeToString())
    assert main(["check", str(path), "--against", f"{target}:both", "--model", "one"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("FAULT    node ")
    assert "linear_before_reset=0" in said[0]
    assert said[-1].startswith(f"{path} does not compute what the module computes: ")
    assert main(["check", str(path), "--against", f"{target}:both"]) == 1
    assert capsys.readouterr().err == (
        f"rnnserve check: {target}:both has several models; choose one with --model: one, other\n"
    )
    path.write_bytes(b"nothing")
    assert main(["check", str(path), "--against", f"{target}:one"]) == 1
    assert capsys.readouterr().err == f"rnnserve check: {path} is no ONNX model\n"
