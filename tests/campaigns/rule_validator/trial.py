"""Compare what the analysis claims of drawn graphs with what onnxruntime computes."""

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from campaigns.rule_validator.cases import Graph
from kit.graph_text import INPUTS
from kit.proven_graphs import attempt, described_outputs, draw, violations
from rnnserve.export.analysis import Property, Verdict, decide
from rnnserve.export.analysis.decisions import values_of
from rnnserve.export.analysis.values import Value, size_of
from rnnserve.export.analysis.walk import Walk, declared_inputs
from rnnserve.export.found_states.parts_file import FoundStates, find_states
from rnnserve.protos import manifest_pb2

_SCALES = (0.0, 1.0, 1e3, 1e12)  # the analysis assumes finite inputs, up to the largest float


@dataclasses.dataclass
class Report:
    """The findings about an operator."""

    wrong: list[str] = dataclasses.field(default_factory=list)  # claims that don't hold, each with its graph
    weak: list[str] = dataclasses.field(default_factory=list)  # properties that held in each run, but aren't claimed
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    @property
    def ran(self) -> int:
        """Number of drawn graphs that onnxruntime could run."""
        return self.counts["ran"]

    def add(self, other: "Report") -> None:
        """Add the findings of another trial."""
        self.wrong += other.wrong
        self.weak += other.weak
        self.counts += other.counts


def try_operator(operator: str, domain: str, seeds: range) -> Report:
    """Try a graph for each seed. Graphs that can't be made or loaded are counted by the kind of their error."""
    report = Report()
    for seed in seeds:
        try:
            with np.errstate(all="ignore"):
                graph = Graph(operator, domain, seed)
            model = graph.model()
            session = _session_of(model)
        except Exception as error:  # noqa: BLE001 - drawn parts may not fit together, and errors have no common root
            report.counts[f"not loaded: {type(error).__name__}"] += 1
            continue
        if not attempt(session, draw(np.random.default_rng(0), 3, 5)):
            report.counts["not run"] += 1
            continue
        report.counts["ran"] += 1
        text = f"seed {seed}: {_text_of(model)}"
        report.wrong += [f"{claim}; {text}" for claim in _wrong_properties(model, session, seed, text, report)]
        report.wrong += [f"{claim}; {text}" for claim in dict.fromkeys(_wrong_values(model, session, seed))]
        report.wrong += [f"{claim}; {text}" for claim in _wrong_parts(model, session, seed, report)]
    return report


def _session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _text_of(model: onnx.ModelProto) -> str:
    return onnx.printer.to_text(model.graph).split("{", 1)[1].replace("\n", "").replace("   ", " ")


def _wrong_properties(
    model: onnx.ModelProto, session: onnxruntime.InferenceSession, seed: int, text: str, report: Report
) -> Iterator[str]:
    """Yield the properties that are proven but don't hold, and count the others."""
    outputs: list[manifest_pb2.Tensor] = described_outputs(session)
    if not outputs:
        return
    for kind, decisions in decide(model, INPUTS, outputs).items():
        found = set(violations(session, kind, outputs, np.random.default_rng(seed)))
        for name, decision in decisions.items():
            report.counts[f"{kind} {decision.verdict}"] += 1
            if decision.verdict is Verdict.PROVEN and name in found:
                yield f"{kind} of {name} is claimed"
            elif decision.verdict is not Verdict.PROVEN and name not in found:
                steps = kind is Property.ROWS or any(
                    axis.name == "sequence" for tensor in outputs for axis in tensor.axes
                )
                report.weak += [f"{kind} of {name} is {decision.verdict}; {text}"] * steps


def _wrong_parts(
    model: onnx.ModelProto, session: onnxruntime.InferenceSession, seed: int, report: Report
) -> Iterator[str]:
    """Yield the outputs that differ if a sequence is sent in two parts, although the graph is said to allow that."""
    outputs = described_outputs(session)
    found = find_states(model, INPUTS, outputs) if outputs else FoundStates()
    if not found.decision.proven or any(state.computed for state in found.states):
        return
    report.counts["parts proven"] += 1
    parts = session if found.model is None else _session_of(found.model)
    inputs = draw(np.random.default_rng(seed), 4, 7)
    before = {
        state.initial.name: np.zeros([4 if axis.size < 0 else axis.size for axis in state.initial.axes], np.float32)
        + (0 if state.default is None else state.default)
        for state in found.states
    }
    whole = attempt(session, inputs | {"lengths": np.full(4, 7)})
    first = attempt(parts, inputs | before | {"x": inputs["x"][:, :3], "lengths": np.full(4, 3)})
    after = {state.initial.name: first[state.final.name] for state in found.states if first}
    second = attempt(parts, inputs | after | {"x": inputs["x"][:, 3:], "lengths": np.full(4, 4)})
    for tensor in outputs if whole and first and second else []:
        names = [axis.name for axis in tensor.axes]
        each = [results[tensor.name] for results in (first, second)]
        both = np.concatenate(each, names.index("sequence")) if "sequence" in names else each[1]
        if both.shape != whole[tensor.name].shape or not np.allclose(both, whole[tensor.name], 2e-4, 2e-4, True):
            yield f"the parts of {tensor.name} are claimed to be those of the whole"


def _wrong_values(model: onnx.ModelProto, session: onnxruntime.InferenceSession, seed: int) -> Iterator[str]:
    """Yield the claims about shapes, equal values, ranges and finite values that don't hold."""
    names = [value.name for value in session.get_outputs()]
    shapes = values_of(model, INPUTS)
    graph = ir.serde.deserialize_model(model)
    ranges = Walk(graph).run(declared_inputs(graph.graph, finite=True)).by_name()
    random = np.random.default_rng(seed)
    for scale in _SCALES:
        inputs = draw(random, 3, 5)
        inputs["x"] = np.clip(inputs["x"] * np.float32(scale), -1e12, 1e12)
        for name, array in attempt(session, inputs).items():
            assert name in names
            yield from _wrong_shape(name, shapes[name], array, {"batch": 3, "sequence": 5})
            fill, range = shapes[name].fill, ranges[name].whole
            if fill is not None and not (array == fill).all():
                yield f"all values of {name} are claimed to be {fill}"
            if range.finite and not np.isfinite(array).all():
                yield f"{name} is claimed to be finite, for inputs of about {scale:g}"
            finite = array[np.isfinite(array)].astype(np.float64)
            slack = 1e-5 * (1 + max(abs(range.low), abs(range.high)))
            if finite.size and (finite.min() < range.low - slack or finite.max() > range.high + slack):
                yield f"{name} is claimed in {range.low:g}, {range.high:g}; found {finite.min():g}, {finite.max():g}"


def _wrong_shape(name: str, value: Value, array: np.ndarray, sizes: dict[str, int]) -> Iterator[str]:
    if value.shape is None:
        return
    if len(value.shape) != array.ndim:
        yield f"{name} is claimed to have {len(value.shape)} axes; found {array.ndim}"
        return
    for at, axis in enumerate(value.shape):
        terms = size_of(axis).terms
        if all(symbol.name in sizes for monomial, _ in terms for symbol in monomial):
            claimed = sum(
                factor * int(np.prod([sizes[s.name] for s in monomial], initial=1)) for monomial, factor in terms
            )
            if claimed != array.shape[at]:
                yield f"axis {at} of {name} is claimed to be {size_of(axis)}; found {array.shape[at]}"
