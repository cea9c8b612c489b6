"""LinearAttention and CausalConvWithState: rows are independent, steps read earlier ones only, states are found."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kit.foreign_files import drawn
from rnnserve.export.onnx_import import import_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import PARTS

HEADS, WIDE = 2, 4
GATES = {"linear": "", "gated": "g", "delta": "b", "gated_delta": "gb"}


def written(nodes, outputs=("y",), *, domain="com.microsoft", **inputs):
    """A file of a few operators of a domain, with inputs of floats."""
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in inputs.items()]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 3) for name in outputs]
    kernel = onnx.numpy_helper.from_array(drawn(kernel=(WIDE, 1, 3))["kernel"], "kernel")
    weights = [kernel] if any("kernel" in node.input for node in nodes) else []
    opsets = [helper.make_opsetid("", 21 if domain else 27), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(helper.make_graph(nodes, "g", tensors, made, weights), opset_imports=opsets, ir_version=10)


def attention(rule, **more):
    """y of queries, keys, values and gates, which are computed of x."""
    names = ["x", "x", "x", "", *(name if name in GATES[rule] else "" for name in "gb")]
    nodes = [helper.make_node("Sigmoid", ["gate"], ["b"]), helper.make_node("Neg", ["b"], ["g"])]
    node = helper.make_node(
        "LinearAttention", names, ["y", "s"], domain=more.get("domain", "com.microsoft"), update_rule=rule
    )
    node.attribute.extend(helper.make_attribute(name, HEADS) for name in ("q_num_heads", "kv_num_heads"))
    axes = {"x": ["batch", "sequence", HEADS * WIDE], "gate": ["batch", "sequence", HEADS]}
    return written([*nodes, node], **more, **axes)


def imported(model, folder):
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return import_onnx(path, "model", folder / "repository")


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_sequence_continues_from_the_inferred_state(domain, tmp_path):
    done = imported(attention("gated_delta", domain=domain), tmp_path)
    (state,) = done.manifest.parts.inputs
    assert [axis.size for axis in state.axes] == [-1, HEADS, WIDE, WIDE]
    assert done.manifest.parts.steps.means == manifest_pb2.MEANS_PROVEN
    assert done.manifest.batching.rows.means == manifest_pb2.MEANS_PROVEN
    run = OnnxRunner((done.published.folder / PARTS).read_bytes())
    whole = drawn(x=(2, 9, HEADS * WIDE), gate=(2, 9, HEADS)) | {
        state.name: np.zeros((2, HEADS, WIDE, WIDE), np.float32)
    }
    first = run({name: array[:, :4] if array.ndim == 3 else array for name, array in whole.items()})
    rest = {name: array[:, 4:] for name, array in whole.items() if array.ndim == 3}
    second = run(rest | {state.name: first[f"{state.name}_n"]})
    assert np.array_equal(np.concatenate([first["y"], second["y"]], axis=1), run(whole)["y"])
