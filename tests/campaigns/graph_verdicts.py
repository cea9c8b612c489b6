"""Count what is proven of graphs for all values.

Run `PYTHONPATH=tests python -m campaigns.graph_verdicts`, with tests or ONNX files as arguments. The graphs of tests
are those that they give to onnxruntime. A graph's dynamic axes are named in it. A vector of integers over the batch
counts as the lengths of the axis "sequence". Without paths: the project's own models, native and scan.
"""

import collections
import sys
from collections.abc import Iterator

import onnx
import onnxruntime
import pytest

from kit.project_graphs import NAMES, project_graphs
from rnnserve.export.analysis import Property, decide, worst
from rnnserve.protos import manifest_pb2

_LONGEST = "longest"  # what tests call the axis that is trimmed to the longest row


def main(paths: list[str]) -> None:
    """Print a line for each graph that is not proven in all, and a table."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for name, graph, inputs, outputs in _graphs(paths):
        if not any(axis.name == "batch" for tensor in inputs for axis in tensor.axes):
            continue
        counts["graphs", ""] += 1
        print(f"{counts['graphs', '']}: {name}", file=sys.stderr, flush=True)  # exports and tests take minutes
        for kind, decisions in decide(graph, inputs, outputs).items():
            found = worst(decisions.values())
            counts[kind, found.verdict] += 1
            if not found.proven:
                print(f"{name}: {kind} {found.verdict}: {'; '.join((found.reasons or found.nodes)[:2])}")
    print(f"{counts['graphs', '']} graphs")
    for kind in Property:
        print(kind, {str(verdict): number for (which, verdict), number in sorted(counts.items()) if which == kind})


Tensors = list[manifest_pb2.Tensor]


def _graphs(paths: list[str]) -> Iterator[tuple[str, onnx.ModelProto, Tensors, Tensors]]:
    if not paths:
        for name in NAMES:
            model, graphs = project_graphs(name)
            for kind, graph in graphs.items():
                yield f"{name}, {kind}", graph, list(model.inputs), list(model.outputs)
        return
    files = [path for path in paths if path.endswith(".onnx")]
    found = {path: onnx.load(path) for path in files} or _given_to_onnxruntime(paths)
    for name, graph in found.items():
        initializers = {tensor.name for tensor in graph.graph.initializer}
        inputs = [value for value in graph.graph.input if value.name not in initializers]
        yield name, graph, [_described(value) for value in inputs], [_described(value) for value in graph.graph.output]


def _given_to_onnxruntime(paths: list[str]) -> dict[str, onnx.ModelProto]:
    seen: dict[bytes, str] = {}
    load = onnxruntime.InferenceSession.__init__

    class Names:
        def pytest_runtest_setup(self, item: pytest.Item) -> None:
            self.name = item.nodeid

    names = Names()

    def keep(session: onnxruntime.InferenceSession, model: object, *args: object, **more: object) -> None:
        if isinstance(model, bytes):
            seen.setdefault(model, names.name)
        load(session, model, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnxruntime.InferenceSession, "__init__", keep)
        pytest.main(["-q", "-p", "no:cacheprovider", *paths], plugins=[names])
    return {f"{name} ({number})": onnx.load_model_from_string(data) for number, (data, name) in enumerate(seen.items())}


def _described(value: onnx.ValueInfoProto) -> manifest_pb2.Tensor:
    tensor = manifest_pb2.Tensor(name=value.name)
    for axis in value.type.tensor_type.shape.dim:
        name = "sequence" if axis.dim_param.startswith(_LONGEST) else axis.dim_param
        tensor.axes.add(name=name or "fixed", size=-1 if axis.dim_param else axis.dim_value)
    integers = value.type.tensor_type.elem_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    if integers and [axis.name for axis in tensor.axes] == ["batch"]:
        tensor.lengths_of = "sequence"
    return tensor


if __name__ == "__main__":
    main(sys.argv[1:])
