"""The results of PyTorch's own exporter for each example: `python -m benchmarks.stock_exporter` prints a table.

The program exports each module of `examples/` with `torch.onnx.export(dynamo=True)`, with the dynamic axes of its spec.
It runs the file in onnxruntime and compares the outputs with eager PyTorch, at batch sizes and lengths that differ from
the export.
"""

import contextlib
import io
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from tabulate import tabulate

from rnnserve.export import Publication
from rnnserve.export.description.described_model import DescribedModel, describe_model
from rnnserve.export.description.targets import load_publications
from rnnserve.export.tensors import draw_inputs

_EXAMPLES = Path(__file__).parents[1] / "examples"
_TOLERANCE = 1e-3  # of values about 1: float32 differs by 1e-6, another formula or ignored lengths by 1e-2 and more
_LONGEST_REASON = 120


def main() -> None:
    """Print the table."""
    paths = sorted(_EXAMPLES.glob("*.py"))
    # A fresh process for each module: an export changes the result of the next export in the same process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        rows = list(zip([path.name for path in paths], processes.map(_outcome, paths), strict=True))
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}\n")
    print(tabulate(rows, headers=["example", "what torch.onnx.export does"], tablefmt="github"))


def _outcome(path: Path) -> str:
    return describe_outcome(load_publications(f"{path}:publication")[0])


def describe_outcome(publication: Publication) -> str:
    """Export a module with the stock exporter and describe the result in a line."""
    model = describe_model(publication)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        try:
            _export(model, file)
        except Exception as error:  # noqa: BLE001 - whatever the exporter raises is the result
            return f"refuses: {_in_a_line(error)}"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # onnxruntime warns of each undeclared size; the table reports it once
        return _compare(model, onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]))


def _export(model: DescribedModel, file: Path) -> None:
    arrays = draw_inputs(model.inputs, np.random.default_rng(0), _sizes(model, batch=3, steps=5))
    shapes = tuple(
        {at: axis.name for at, axis in enumerate(tensor.axes) if axis.name in model.sizes} for tensor in model.inputs
    )
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.module,
            model.module.arguments(arrays),
            file,
            dynamo=True,
            input_names=[tensor.name for tensor in model.inputs],
            output_names=[tensor.name for tensor in model.outputs],
            dynamic_shapes=(shapes,),  # of one variadic parameter
            verbose=False,
        )


def _compare(model: DescribedModel, session: onnxruntime.InferenceSession) -> str:
    taken = {tensor.name for tensor in session.get_inputs()}
    if missing := {tensor.name for tensor in model.inputs} - taken:
        return f"exports a file without the inputs {', '.join(sorted(missing))}"
    for number, (batch, steps) in enumerate([(3, 5), (1, 1), (2, 9), (6, 3)]):
        for ragged in (False, True):
            sizes = _sizes(model, batch=batch, steps=steps)
            arrays = draw_inputs(model.inputs, np.random.default_rng(number), sizes, ragged=ragged)
            at = f"batch {batch}, {steps} steps{', ragged lengths' if ragged else ''}"
            eager = model.module.run(arrays)
            try:
                results: list[Any] = session.run([tensor.name for tensor in model.outputs], dict(arrays))
            except Exception as error:  # noqa: BLE001 - onnxruntime raises several kinds
                return f"exports a file that fails at {at}: {_in_a_line(error)}"
            for tensor, result in zip(model.outputs, results, strict=True):
                expected = eager[tensor.name]
                if result.shape != expected.shape:
                    return (
                        f"exports a file that returns {tensor.name} of shape {result.shape} at {at}; expected "
                        f"{expected.shape}"
                    )
                if (distance := float(np.abs(result - expected).max())) > _TOLERANCE:
                    return f"exports a file whose {tensor.name} is wrong by {distance:.2g} at {at}"
    for tensor, declared in zip(model.outputs, session.get_outputs(), strict=True):
        for axis, size in zip(tensor.axes, declared.shape, strict=True):
            if axis.size < 0 and isinstance(size, int):
                return f'values agree with eager PyTorch; "{axis.name}" of {tensor.name} is declared as {size}'
    return "values agree with eager PyTorch"


def _sizes(model: DescribedModel, *, batch: int, steps: int) -> dict[str, int]:
    """Return sizes of the dynamic axes. Each sequence axis has one step more than the previous one."""
    sequences = [axis for axis in model.sizes if axis != "batch"]
    return {"batch": batch, **{axis: steps + number for number, axis in enumerate(sequences)}}


def _in_a_line(error: Exception) -> str:
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}…"


if __name__ == "__main__":
    main()
