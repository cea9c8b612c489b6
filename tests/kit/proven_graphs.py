"""Whether what is proven of random graphs holds on drawn values."""

import collections
import re
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.reference import ReferenceEvaluator

from kit.graph_text import CONSTANTS, FEATURES, INPUTS, graph_of, parsed_nodes
from rnnserve.export.analysis import Property, Verdict, decide
from rnnserve.protos import manifest_pb2

__all__ = ["RandomGraph", "try_graph", "violations"]

# Each makes y. In braces: a tensor of floats ("f", or "f3" of three axes; "a" repeats the first one), an axis of the
# first one as a tensor ("axis") or a number ("at"), an order of its axes ("order"), or one of several words.
_TEMPLATES = [
    "y = {Tanh|Relu|Neg|Sigmoid|Abs|Identity} ({f})",
    "y = {Add|Mul|Sub|Max} ({f}, {f})",
    "y = {Add|Mul} ({f}, {zero|half|two})",
    "y = Transpose <perm = {order}> ({f})",
    "y = Unsqueeze ({f}, {axis})",
    "y = {ReduceSum|ReduceMean|ReduceMax} <keepdims = {0|1}> ({f}, {axis})",
    "y = Softmax <axis = {at}> ({f})",
    "y = LayerNormalization <axis = -1> ({f}, ones, zeros)",
    "y = CumSum <exclusive = {0|1}, reverse = {0|0|1}> ({f}, scalar_{at})",
    "y = Slice ({f}, {_0, minus_1|_1, far|minus_1, far|_0, _2}, {axis})",
    "y = Slice ({f}, {minus_1, far_back|_0, far}, {axis}, {minus_1|_2})",
    # One step, row or feature later or earlier: a constant takes the place of another.
    "s = Slice ({f}, {_0, minus_1|_1, far}, {axis})  p = Constant <value_ints = {pads}> ()  y = Pad (s, p)",
    "y = Concat <axis = {at}> ({f}, {a|f})",
    "y = Gather <axis = {at}> ({f}, {scalar_0|last|_0|_1})",
    # Written to one index, in a shape that is computed.
    "r = Slice ({f}, _0, _1, {axis})  h = Shape (r)  i = Expand ({_0|minus_1|_1}, h)  u = Mul (r, zero)"
    "  y = ScatterElements <axis = {at}> ({a}, i, u)",
    "n = Shape <start = {at}, end = {next}> ({f})  y, order = TopK <axis = {at}> ({a}, n)",
    "y = MatMul ({f}, {f|matrix})",
    "k = Transpose <perm = [0, 2, 1]> ({f3})  s = MatMul ({a}, k)"
    "  w = {Softmax <axis = -1>|Softmax <axis = 0>|Softmax <axis = 1>|Trilu <upper = 0>} (s)  y = MatMul (w, {a})",
    'y = Einsum <equation = "{abc,abd->acd|abc,adc->abd|abc,dbc->ad|abc,abc->ab|abc,bca->ac}"> ({f3}, {f3})',
    "c = Constant <value_ints = {[-1, 3]|[0, -1]|[-1]|[0, 0, -1]|[0, 1, 0, -1]|[3, -1]}> ()  y = Reshape ({f}, c)",
    "s = Shape ({f})  c = Constant <value_ints = {order}> ()  g = Gather (s, c)  y = Reshape ({f}, g)",
    "s = Shape ({f})  y = Expand ({f}, s)",
    # An index, and an entry of a table for it, along an axis.
    "n = Shape <start = {at}, end = {next}> ({f})  c = Squeeze (n)  r = Range (scalar_0, c, scalar_1)"
    "  k = Cast <to = 1> (r)  t = Constant <value_ints = {along}> ()  b = Reshape (k, t)  y = Add ({a}, b)",
    "n = Shape <start = {at}, end = {next}> ({f})  k = Slice (entries, _0, n, _0)"
    "  t = Constant <value_ints = {along}> ()  b = Reshape (k, t)  y = Add ({a}, b)",
    "n = Shape <start = {at}, end = {next}> ({f})  k = Cast <to = 1> (n)  y = Div ({a}, k)",
    # Masks of the lengths, and something like them.
    *(
        "n = Shape <start = 1, end = 2> ({f3})  c = Squeeze (n)  r = Range (scalar_0, c, scalar_1)"
        f"  s = Unsqueeze (r, _0)  e = {ends} (lengths, {{_0|_0|_1}})  l = Unsqueeze (e, _1)"
        "  k = {Less|Less|LessOrEqual|Greater|GreaterOrEqual} ({s, l|l, s})  m = Unsqueeze (k, _2)  " + used
        for ends in ("Sub", "Max")
        for used in ("q = Cast <to = 1> (m)  y = Mul ({a}, q)", "y = Where (m, {a}, {zero|minus_infinity})")
    ),
    "l = ReduceMax <keepdims = 1> (lengths, _0)  y = Slice ({f}, _0, l, {_1|_0})",
    # The last step of each row.
    "e = Sub (lengths, {_1|_1|_0})  n = Shape (lengths)  c = Squeeze (n)  r = Range (scalar_0, c, scalar_1)"
    "  i = Unsqueeze (r, minus_1)  j = Unsqueeze (e, minus_1)  k = Concat <axis = -1> (i, j)  y = GatherND ({f3}, k)",
    *(
        "t = Transpose <perm = {[1, 0, 2]|[1, 0, 2]|[0, 1, 2]}> ({f3})  n = Cast <to = 6> (lengths)"
        f'  r, h = RNN <hidden_size = 3, direction = "{direction}"> (t, W, W{lengths})  ' + used
        for direction in ("forward", "reverse")
        for lengths in ("", ", B, n")
        for used in ("y = Squeeze (r, _1)", "y = Squeeze (h, _0)")
    ),
    "t = Transpose <perm = {[0, 2, 1]|[0, 1, 2]|[1, 2, 0]}> ({f3})"
    "  y = Conv <pads = {[2, 0]|[0, 0]|[0, 2]|[1, 1]}, strides = [{1|1|2}]> (t, kernel_3)",
]
_MOST = 4000  # entries of a tensor


class RandomGraph:
    """A graph that grows by operators which run on a sample."""

    def __init__(self, seed: int, operators: int) -> None:
        self._random = np.random.default_rng(seed)
        sample = self._random.normal(size=(4, 5, FEATURES)).astype(np.float32)
        self.values: dict[str, np.ndarray] = {"x": sample, "lengths": np.array([5, 2, 4, 1])}
        self._more = {"entries": self._random.normal(size=40).astype(np.float32)}
        for name in ("W", "matrix", "kernel_3"):
            self._more[name] = self._random.normal(size=CONSTANTS[name].shape).astype(np.float32)
        self.used: list[str] = []
        while len(self.used) < operators:
            try:
                with np.errstate(all="ignore"):
                    self._grow(f"_op{len(self.used)}")
            except Exception:  # noqa: BLE001 - the operator does not take such tensors
                continue

    def model(self, outputs: list[str], *, runs: bool = False) -> onnx.ModelProto:
        """Give the graph with these outputs.

        Args:
            outputs: Their names.
            runs: Whether onnxruntime is to run it, whose Softmax of an empty tensor ends the process.
        """
        model = graph_of("  ".join(self.used), constants=self._more)
        if runs:
            nodes = [each for node in model.graph.node for each in _written_out(node)]
            del model.graph.node[:]
            model.graph.node.extend(nodes)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return model

    @property
    def outputs(self) -> list[str]:
        """The floats that the graph computes."""
        return [name for name, value in self.values.items() if value.dtype == np.float32 and name != "x"]

    def _grow(self, suffix: str) -> None:
        text = self._filled(str(self._random.choice(_TEMPLATES)))
        made = {name for node in parsed_nodes(text) for name in node.output}
        text = re.sub(r"\b\w+\b(?! = [^A-Z])", lambda word: word[0] + suffix * (word[0] in made), text)
        values = self.values | CONSTANTS | self._more
        for node in parsed_nodes(text):
            given = helper.make_node(node.op_type, [*node.input], [*node.output])
            given.attribute.extend(node.attribute)
            if node.op_type == "RNN":  # the reference takes no lengths; only the shapes are needed here
                del given.input[3:]
                if len(node.input) == 5 and values[node.input[0]].shape[1] != 4:
                    raise ValueError("lengths of other rows")
            results = ReferenceEvaluator(given).run(None, {name: values[name] for name in given.input})
            values |= {name: np.asarray(result) for name, result in zip(node.output, results, strict=True)}
            if any(values[name].size > _MOST for name in node.output):
                raise ValueError("too large")
        self.values |= {name: value for name, value in values.items() if name.endswith(suffix)}
        self.used.append(text)

    def _filled(self, template: str) -> str:
        chosen: list[str] = []
        axis = rank = 0

        def fill(found: re.Match[str]) -> str:
            nonlocal axis, rank
            word = str(self._random.choice(found[1].split("|")))
            if word in ("f", "f2", "f3"):
                chosen.append(self._floats(int(word[1:] or 0)))
                if len(chosen) == 1:
                    rank = self.values[chosen[0]].ndim
                    axis = int(self._random.integers(rank))
                return chosen[-1]
            return word

        text = re.sub(r"\{(f\d?|[^{}]*\|[^{}]*)\}", fill, template)
        pads = [0] * (2 * rank)
        if rank:
            pads[int(self._random.choice([axis, rank + axis]))] = 1
        words = {
            "a": chosen[0] if chosen else "",
            "axis": f"_{axis}",
            "at": str(axis),
            "next": str(axis + 1),
            "order": str(self._random.permutation(rank).tolist() if rank else []),
            "along": str([-1 if at == axis else 1 for at in range(rank)]),
            "pads": str(pads),
        }
        return re.sub(r"\{(\w+)\}", lambda found: words[found[1]], text)

    def _floats(self, rank: int) -> str:
        """Choose a tensor of floats, the latest ones most often."""
        names = [
            name
            for name, value in self.values.items()
            if value.dtype == np.float32 and value.size and rank in (0, value.ndim)
        ]
        weights = np.arange(1, len(names) + 1) ** 2
        return str(self._random.choice(names, p=weights / weights.sum()))


def _written_out(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    if node.op_type != "Softmax":
        return [node]
    (given,), (result,) = node.input, node.output
    at = helper.get_node_attr_value(node, "axis")
    return parsed_nodes(
        f"{result}_axis = Constant <value_ints = [{at}]> ()  {result}_most = ReduceMax ({given}, {result}_axis)"
        f"  {result}_less = Sub ({given}, {result}_most)  {result}_exp = Exp ({result}_less)"
        f"  {result}_sum = ReduceSum ({result}_exp, {result}_axis)  {result} = Div ({result}_exp, {result}_sum)"
    )


_TOLERANCE = 2e-4
_ROWS, _STEPS = 4, 7


def try_graph(seed: int, operators: int) -> collections.Counter[str]:
    """Make a graph, decide what holds of it, and try what is proven. Raises AssertionError where it does not hold."""
    graph = RandomGraph(seed, operators)
    session = session_of(graph, graph.outputs)
    counts: collections.Counter[str] = collections.Counter()
    if session is None:
        counts["not run"] += 1
        return counts
    outputs = described_outputs(session)
    if not outputs:
        counts["nothing to describe"] += 1
        return counts
    decided = decide(graph.model([tensor.name for tensor in outputs]), INPUTS, outputs)
    for kind, decisions in decided.items():
        counts.update(f"{kind} {decision.verdict}" for decision in decisions.values())
        proven = [t for t in outputs if decisions[t.name].verdict is Verdict.PROVEN]
        found = list(violations(session, kind, proven, np.random.default_rng(seed)))
        assert not found, f"seed {seed}: {kind} is proven, but {found}\\n{graph.used}"
    return counts


def session_of(graph: RandomGraph, outputs: list[str]) -> onnxruntime.InferenceSession | None:
    """Load a graph; None where onnxruntime does not run it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = graph.model(outputs, runs=True).SerializeToString()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # noqa: BLE001 - whatever onnxruntime says of such a graph
        return None
    return session if attempt(session, draw(np.random.default_rng(0), 3, 5)) else None


def attempt(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph. Nothing where it does not take such sizes."""
    try:
        return run(session, inputs)
    except Exception:  # noqa: BLE001 - whatever onnxruntime says
        return {}


def run(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    return dict(zip(names, session.run(None, {k: v for k, v in inputs.items() if k in wanted}), strict=True))


def draw(random: np.random.Generator, rows: int, steps: int) -> dict[str, np.ndarray]:
    lengths = random.integers(1, steps, rows, endpoint=True)
    return {"x": random.normal(size=(rows, steps, FEATURES)).astype(np.float32), "lengths": lengths}


def described_outputs(session: onnxruntime.InferenceSession) -> list[manifest_pb2.Tensor]:
    """Describe the results that have an axis as large as the batch, and otherwise fixed ones and steps."""
    random = np.random.default_rng(1)
    sizes = [(11, 13), (17, 19)]
    try:
        both = [run(session, draw(random, *pair) | {"lengths": np.full(pair[0], pair[1])}) for pair in sizes]
    except Exception:  # noqa: BLE001 - it takes some sizes only
        return []
    outputs = []
    for name in both[0]:
        tensor = manifest_pb2.Tensor(name=name)
        for first, second in zip(both[0][name].shape, both[1][name].shape, strict=True):
            axis = {(11, 17): ("batch", -1), (13, 19): ("sequence", -1)}.get((first, second))
            if axis is None and first != second:
                break
            tensor.axes.add(name=axis[0] if axis else "fixed", size=axis[1] if axis else first)
        names = [axis.name for axis in tensor.axes]
        whole = len(names) == both[0][name].ndim
        if whole and names.count("batch") == 1 and names.count("sequence") <= 1:
            outputs.append(tensor)
    return outputs


def violations(
    session: onnxruntime.InferenceSession,
    kind: Property,
    outputs: list[manifest_pb2.Tensor],
    random: np.random.Generator,
) -> Iterator[str]:
    """Try a property on drawn values; give the outputs of which it does not hold."""
    if not outputs:
        return
    for scale in (1, 30):
        inputs = draw(random, _ROWS, _STEPS)
        inputs["x"] = inputs["x"] * np.float32(scale)
        for some, others in _PAIRS[kind](session, inputs, random):
            for tensor in outputs if some[0] and others[0] else []:
                if not _agree(tensor, some, others):
                    yield tensor.name


def _rows(session, inputs, random):
    whole = attempt(session, inputs)
    for row in range(_ROWS):
        at = {"row": row, "before": _STEPS}
        yield (
            (whole, at),
            (attempt(session, {name: array[row : row + 1] for name, array in inputs.items()}), at | {"row": 0}),
        )
    order = random.permutation(_ROWS)
    turned = attempt(session, {name: array[order] for name, array in inputs.items()})
    yield from (
        ((whole, {"row": int(row), "before": _STEPS}), (turned, {"row": at, "before": _STEPS}))
        for at, row in enumerate(order)
    )


def _padding(session, inputs, random):
    for row in range(_ROWS):
        length = int(inputs["lengths"][row])
        at = {"row": 0, "before": length}
        alone = {"x": inputs["x"][row : row + 1, :length], "lengths": inputs["lengths"][row : row + 1]}
        exact = attempt(session, alone)
        for more in (1, 4):
            noise = random.normal(size=(1, more, FEATURES)).astype(np.float32) * 9
            padded = alone | {"x": np.concatenate([alone["x"], noise], 1)}
            yield (exact, at), (attempt(session, padded), at)


def _causality(session, inputs, random):
    """What is cut off after a step, or changed, does not change what is before."""
    inputs = inputs | {"lengths": np.full(_ROWS, 2)}
    whole = attempt(session, inputs)
    for step in (2, 4):
        cut = attempt(session, inputs | {"x": inputs["x"][:, :step]})
        changed = inputs["x"].copy()
        changed[:, step:] = random.normal(size=changed[:, step:].shape) * 9
        for other in (cut, attempt(session, inputs | {"x": changed})):
            at = {"row": None, "before": step, "steps_only": True}
            yield (whole, at), (other, at)


_PAIRS = {Property.ROWS: _rows, Property.PADDING: _padding, Property.CAUSALITY: _causality}


def _agree(tensor: manifest_pb2.Tensor, some, others) -> bool:
    taken = [_taken(tensor, results[tensor.name], **at) for results, at in (some, others)]
    if taken[0] is None:
        return True
    common = tuple(slice(0, min(sizes)) for sizes in zip(taken[0].shape, taken[1].shape, strict=True))
    left, right = (array[common].astype(np.float64) for array in taken)
    largest = max(1.0, float(np.abs(right[np.isfinite(right)]).max(initial=0)))
    return bool(np.allclose(left, right, rtol=_TOLERANCE, atol=_TOLERANCE * largest, equal_nan=True))


def _taken(tensor, array, *, row, before, steps_only=False):
    names = [axis.name for axis in tensor.axes]
    if steps_only and "sequence" not in names:
        return None
    if "sequence" in names:
        array = np.take(array, range(min(before, array.shape[names.index("sequence")])), names.index("sequence"))
    return array if row is None else np.take(array, [row], names.index("batch"))
