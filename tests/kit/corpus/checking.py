"""Exports rows of the corpus, up to eight at a time, and compares each with eager at other sizes."""

import functools
import inspect
import itertools
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils import _pytree

from kit.corpus.rows import Row
from rnnserve.export import Floats, Lengths, UnsupportedModule, export_onnx, publish
from rnnserve.protos import manifest_pb2

RUNS = ((1, 1), (2, 2), (1, 7), (5, 3), (3, 40))
"""(batch, sequence) of the runs that are compared with eager."""

CHANGES = (torch.abs, lambda x: -x.abs(), torch.zeros_like, lambda x: 100 * x, lambda x: x / 100)
"""What else is done to the numbers that a run draws."""

LIMIT = 3e-6
"""Largest difference from eager, relative to values above 1; ten times as much after more than seven steps."""

T = TypeVar("T")


def quiet(function: Callable[..., T]) -> Callable[..., T]:
    """Ignore the warnings of eager; those of exports are checked."""

    @functools.wraps(function)
    def run(*arguments: Any) -> T:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)

    return run


class Together(nn.Module):
    """Calls several modules, each with its own arguments."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, *calls: Any) -> list[Any]:
        return [member(*call) for member, call in zip(self.members, calls, strict=True)]


class SideBySide(nn.Module):
    """Calls several modules with the same arguments."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, x: Any, lengths: Any) -> list[Any]:
        return [member(x, lengths) for member in self.members]


def batches(rows: Iterable[Row], *, core: bool) -> list[list[Row]]:
    """Divide the right rows of one suite into batches that one export can hold."""
    found: list[list[Row]] = []
    mine = [row for row in rows if not row.refused and row.is_core == core]
    for _, alike in itertools.groupby(sorted(mine, key=_order), key=_kind):
        listed = list(alike)
        count = -(-len(listed) // listed[0].together)
        bounds = [len(listed) * number // count for number in range(count + 1)]  # batches of nearly one size
        found += [listed[first:end] for first, end in itertools.pairwise(bounds)]
    return found


def _kind(row: Row) -> tuple[Any, ...]:
    """What all rows of a batch share."""
    return row.bounds, row.runs, row.is_scaled, row.together


def _order(row: Row) -> tuple[Any, ...]:
    """Rows that allow the same checks are neighbors."""
    return *_kind(row), row.layers is None, row.longer


def refusals(rows: Iterable[Row], *, core: bool) -> list[Row]:
    """List the refused rows of one suite."""
    return [row for row in rows if row.refused and row.is_core == core]


@quiet
def check_right(rows: Sequence[Row], check: Callable[[Sequence[Row]], None] | None = None) -> None:
    """Export rows together, and compare each with eager. If that fails, name those that are wrong alone."""
    check = check or _check_together
    if together := _failure(rows, check):
        alone = [failed for row in rows if (failed := _failure([row], check))]
        pytest.fail("\n".join(alone) or f"each is right alone; give one of them `together=1`: {together}")


def _failure(rows: Sequence[Row], check: Callable[[Sequence[Row]], None]) -> str:
    """What is wrong with rows that are checked together."""
    try:
        check(rows)
    except Exception as error:  # noqa: BLE001 - every failure is reported with its rows
        return f"{'; '.join(map(str, rows))}: {type(error).__name__}: {error}"
    return ""


def _check_together(rows: Sequence[Row]) -> None:
    module = Together(row.module() for row in rows).eval()
    with torch.no_grad():
        results = module(*(row.draw(_sample(row), 0) for row in rows))
    outside = [row.outside() for row in rows if row.outside]
    before = [_described(member) for member in module.members]
    names = [f"output_{at}_{place}" for at, each in enumerate(results) for place, _ in enumerate(_tensors(each))]
    session = _exported(rows, module, names)
    for row, member, described in zip(rows, module.members, before, strict=True):
        assert _described(member) == described, f"{row}: the export changed the module"
    assert [row.outside() for row in rows if row.outside] == outside, "the export changed variables outside"
    for number, sizes, change in _runs(rows):
        arguments = [row.draw(sizes, number, change) for row in rows]
        results = _run(session, names, _feeds(arguments))
        for at, (row, member, given) in enumerate(zip(rows, module.members, arguments, strict=True)):
            with torch.no_grad():
                expected = _tensors(member(*given))
            for place, tensor in enumerate(expected):
                name = f"output_{at}_{place}"
                _compare(f"{row}, {name} at {sizes}", results[name], tensor.numpy(), sizes, row.limit)
                _compare_axes(f"{row}, {name} at {sizes}", session, name, results[name].shape, sizes)


@quiet
def check_published(rows: Sequence[Row], folder: Path) -> manifest_pb2.Manifest:
    """Publish rows of x (batch, sequence, 3) and lengths together, and compare each with eager."""
    module = SideBySide(row.module() for row in rows).eval()
    outputs = [f"output_{at}" for at in range(len(rows))]
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    repository = Path(tempfile.mkdtemp(dir=folder))  # rows that fail together are published alone after that
    published = publish(module, "rows", repository=repository, inputs=inputs, outputs=outputs, progress=False)
    session = _session((published.published.folder / "model.onnx").read_bytes())
    for number, sizes, change in _runs(rows):
        x, lengths = rows[0].draw(sizes, number, change)
        results = _run(session, outputs, {"x": x.numpy(), "lengths": lengths.numpy()})
        for row, member, output in zip(rows, module.members, outputs, strict=True):
            with torch.no_grad():
                (expected,) = _tensors(member(x, lengths))
            _compare(f"{row} at {sizes}", results[output], expected.numpy(), sizes, row.limit)
    return published.manifest


def _run(session: onnxruntime.InferenceSession, names: list[str], feeds: dict[str, np.ndarray]) -> dict[str, Any]:
    wanted = {value.name for value in session.get_inputs()}
    given = {name: array for name, array in feeds.items() if name in wanted}
    return dict(zip(names, session.run(names, given), strict=True))


def _feeds(arguments: Sequence[Any]) -> dict[str, np.ndarray]:
    return {
        f"input_{at}_{place}": leaf.numpy()
        for at, each in enumerate(arguments)
        for place, leaf in enumerate(_tensors(each))
    }


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _runs(rows: Sequence[Row]) -> Iterable[tuple[int, dict[str, int], Any]]:
    """Give the number, sizes and change of each run; all rows have the same."""
    runs = [{"batch": batch, "sequence": sequence} for batch, sequence in rows[0].runs or RUNS]
    if all(row.longer for row in rows):
        runs += [{"batch": 3, "sequence": 39, "longest": 9}, {"batch": 1, "sequence": 4, "longest": 2}]
    yield from ((number, sizes, None) for number, sizes in enumerate(runs, 1))
    changes = CHANGES if all(row.is_scaled for row in rows) else ()
    yield from ((number, runs[number % len(runs)], change) for number, change in enumerate(changes, len(runs) + 1))


def _exported(rows: Sequence[Row], module: nn.Module, outputs: list[str]) -> onnxruntime.InferenceSession:
    sample = tuple(row.draw(_sample(row), 0) for row in rows)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        program = export_onnx(
            module,
            sample,
            input_names=list(_feeds(sample)),
            output_names=outputs,
            dynamic_shapes=tuple(row.shapes() for row in rows),
            **({"sizes": dict(rows[0].bounds)} if rows[0].bounds else {}),
        )
    _check_warnings(rows, [str(each.message) for each in told if issubclass(each.category, UserWarning)])
    model = program.model_proto
    if all(row.layers is not None for row in rows):
        native = [node.op_type for node in model.graph.node if node.op_type in ("RNN", "GRU", "LSTM")]
        assert len(native) == sum(row.layers or 0 for row in rows), f"native recurrent operators: {native}"
    return _session(model.SerializeToString())


def _sample(row: Row) -> dict[str, int]:
    """Sizes of the sample: the usual ones, or larger ones if the row's bounds ask for them."""
    return {"batch": 3, "sequence": 4} | {axis: 3 * low for axis, (low, _) in row.bounds}


def _check_warnings(rows: Sequence[Row], told: list[str]) -> None:
    """Compare what the export says of the module, beside warnings of torch, with what the rows say."""
    ours = [each for each in told if each.startswith("the exported module")]
    for row in rows:
        assert not row.told or any(re.search(row.told, each) for each in ours), f"{row}: no warning, but {ours}"
    patterns = [row.told for row in rows if row.told]
    unexpected = [each for each in ours if not any(re.search(pattern, each) for pattern in patterns)]
    assert not unexpected, f"no row expects the warnings {unexpected}"


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf.detach() for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _compare(what: str, found: np.ndarray, expected: np.ndarray, sizes: dict[str, int], factor: float) -> None:
    assert found.shape == expected.shape, f"{what}: {found.shape}, eager {expected.shape}"
    assert found.dtype == expected.dtype, f"{what}: {found.dtype}, eager {expected.dtype}"
    if not expected.size:
        return
    if expected.dtype.kind != "f":
        assert np.array_equal(found, expected), f"{what}: other values than eager"
        return
    finite = np.isfinite(expected)
    assert np.array_equal(found[~finite], expected[~finite], equal_nan=True), f"{what}: other values than eager"
    expected, found = expected[finite].astype(np.float64), found[finite].astype(np.float64)
    limit = factor * LIMIT * (10 if sizes["sequence"] > 7 else 1) * max(1.0, float(np.abs(expected).max(initial=0)))
    difference = float(np.abs(found - expected).max(initial=0))
    assert difference <= limit, f"{what}: off by {difference}"


def _compare_axes(what: str, session: Any, name: str, shape: Sequence[int], sizes: dict[str, int]) -> None:
    """Compare the sizes that the graph declares with those of a run."""
    (declared,) = [value.shape for value in session.get_outputs() if value.name == name]
    assert len(declared) == len(shape), f"{what}: {declared}"
    for axis, size in zip(declared, shape, strict=True):
        assert (sizes.get(axis, size) if isinstance(axis, str) else axis) == size, f"{what}: {declared}, not {shape}"


@quiet
def check_refused(row: Row) -> None:
    """Export a row, which is refused with its phrase and a line of its own code, and changes nothing."""
    results = _count_results(row)
    module = row.module()
    before, outside = _described(module), row.outside and row.outside()
    said = _refusal(row, module, results)
    assert said is not None, f"{row} is exported"
    assert re.search(row.refused, said, re.DOTALL), said
    if row.is_located:
        assert _names_a_line(said, module), f"{row}: no line of the module in: {said}"
    assert _described(module) == before, f"{row}: the export changed the module"
    assert not row.outside or row.outside() == outside, f"{row}: the export changed variables outside"
    assert torch._C._len_torch_function_stack() == 0


def _count_results(row: Row) -> int:
    try:
        with torch.no_grad():
            return len(_tensors(row.module()(*row.draw(_sample(row), 0))))
    except Exception:  # noqa: BLE001 - eager may refuse it, too
        return 1


def _refusal(row: Row, module: nn.Module, results: int) -> str | None:
    sample = row.draw(_sample(row), 0)
    names: dict[str, Any] = {
        "input_names": [f"input_{number}" for number, _ in enumerate(_tensors(sample))],
        "output_names": [f"output_{number}" for number in range(results)],
        "dynamic_shapes": row.shapes(),
    }
    try:
        export_onnx(module, sample, **names)
    except UnsupportedModule as refused:
        return str(refused)
    return None


def _names_a_line(said: str, module: nn.Module) -> bool:
    """Whether a refusal names a line of the module's forward, or of the function that it calls."""
    for function in (type(module).forward, getattr(type(module), "way", None)):
        if function is not None:
            path = Path(inspect.getfile(function))
            numbers = re.findall(rf"{re.escape(path.name)}:(\d+)", said)
            if any(int(number) <= len(path.read_text(encoding="utf-8").splitlines()) for number in numbers):
                return True
    return False


def _described(module: nn.Module) -> list[Any]:
    """Describe the code and all attributes of a module and its parts, down to what lists, dicts and objects hold."""
    return [
        (path, id(getattr(vars(type(part)).get("forward"), "__code__", None)), name, _value(value))
        for path, part in module.named_modules()
        for name, value in sorted(vars(part).items())
    ]


def _value(value: Any, depth: int = 0) -> Any:
    if isinstance(value, torch.Tensor):
        return id(value), value.dtype, value.layout, value.requires_grad, str(value.detach())
    if isinstance(value, nn.Module) or depth > 4:
        return id(value)
    if isinstance(value, dict):
        return id(value), [(str(key), _value(each, depth + 1)) for key, each in value.items()]
    if isinstance(value, list | tuple | set):
        return id(value), [_value(each, depth + 1) for each in value]
    if hasattr(value, "__dict__") and not callable(value):
        return id(value), _value(vars(value), depth + 1)
    return repr(value) if isinstance(value, int | float | str | bool | None) else id(value)
