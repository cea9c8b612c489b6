"""Walking two graphs side by side: which node is named as the first that goes another way."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.graph_walk import first_wrong_node, mistaken_outputs

X = np.arange(6, dtype=np.float32).reshape(2, 3) / 8


def values(*nodes, outputs=("y",), constants=None):
    """A graph of x (2, 3): nodes are (operator, inputs, output)."""
    constants = {"w": np.array([0.5, 1, 2], np.float32), "one": np.array([1.0], np.float32), **(constants or {})}
    made = [helper.make_node(op, list(inputs), [output], name=f"n_{output}") for op, inputs, output in nodes]
    model = helper.make_model(
        helper.make_graph(
            made,
            "few",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    return GraphValues(model, {"x": X})


RIGHT = (("Mul", ("x", "w"), "scaled"), ("Tanh", ("scaled",), "bent"), ("Add", ("bent", "one"), "y"))


SUB = ("Sub", ("bent", "one"), "y")


def test_right_graph_has_no_wrong_node():
    assert first_wrong_node(values(*RIGHT), values(*RIGHT)) == ""


@pytest.mark.parametrize(
    ("nodes", "phrase"),
    [
        ((RIGHT[0], ("Sigmoid", ("scaled",), "bent"), RIGHT[2]), '"n_bent" (Sigmoid), which gives [2, 3]: the nearest'),
        ((*RIGHT[:2], SUB), '"n_y" (Sub), which gives [2, 3]: the nearest tensor of a right export is 1 away'),
        # Another way to the same results, up to the node that is wrong.
        ((("Add", ("x", "x"), "twice"), ("Mul", ("twice", "half"), "scaled"), RIGHT[1], SUB), '"n_y" (Sub)'),
        # A node that no output depends on isn't to blame.
        ((("Sigmoid", ("x",), "aside"), *RIGHT[:2], SUB), '"n_y" (Sub)'),
        (
            (*RIGHT[:2], ("Expand", ("bent", "shape"), "y")),
            "which gives [4, 2, 3]: a right export has no tensor of such",
        ),
        # Another order of the axes is the same result.
        (
            (
                *(RIGHT[0], ("Transpose", ("scaled",), "turned"), ("Tanh", ("turned",), "bent")),
                *(("Sigmoid", ("bent",), "wrong"), ("Transpose", ("wrong",), "y")),
            ),
            '"n_wrong" (Sigmoid), which gives [3, 2]',
        ),
    ],
)
def test_first_node_that_goes_another_way_is_named(nodes, phrase):
    constants = {"half": np.array([0.25, 0.5, 1], np.float32), "shape": np.array([4, 2, 3])}
    found = first_wrong_node(values(*nodes, constants=constants), values(*RIGHT))
    assert found.startswith("the first node whose result differs is the node ")
    assert phrase in found


@pytest.mark.parametrize(
    "on_the_way",
    [
        (("Shape", ("x",), "aside"), ("Expand", ("one", "aside"), "ones")),
        (("Mul", ("x", "none"), "aside"), ("Add", ("aside", "one"), "ones")),
    ],
)
def test_shapes_and_constants_are_computed_in_many_ways(on_the_way):
    found = values(*RIGHT[:2], *on_the_way, ("Sub", ("bent", "ones"), "y"), constants={"none": np.zeros(1, np.float32)})
    assert '"n_y" (Sub)' in first_wrong_node(found, values(*RIGHT))


def test_rounding_is_no_other_way():
    near, far = (
        (("Mul", ("x", "w"), "scaled"), ("Tanh", ("scaled",), "bent"), ("Add", ("bent", name), "y"))
        for name in ("near", "far")
    )
    constants = {"near": np.array([1.00001], np.float32), "far": np.array([1.00003], np.float32)}
    assert first_wrong_node(values(*near, constants=constants), values(*RIGHT)) == ""
    assert '"n_y" (Add)' in first_wrong_node(values(*far, constants=constants), values(*RIGHT))


TWO = (*RIGHT, ("Neg", ("bent",), "z"))
SWAPPED = (*RIGHT[:2], ("Add", ("bent", "one"), "z"), ("Neg", ("bent",), "y"))


def test_outputs_that_are_swapped():
    found, right = (values(*nodes, outputs=("y", "z")) for nodes in (SWAPPED, TWO))
    assert [line.partition(":")[0] for line in mistaken_outputs(found, right)] == [
        'output "y" gives what the module gives as "z"',
        'output "z" gives what the module gives as "y"',
    ]
    assert list(mistaken_outputs(right, right)) == []
    # Every result of the file is one of the module's, so that no node is to be blamed.
    assert first_wrong_node(found, right) == ""


def test_an_output_that_is_merely_wrong_is_no_other_one():
    wrong = values(*RIGHT[:2], ("Sub", ("bent", "one"), "y"), ("Neg", ("bent",), "z"), outputs=("y", "z"))
    assert list(mistaken_outputs(wrong, values(*TWO, outputs=("y", "z")))) == []
