"""The step about sizes: time and rounding of one layer, on the device and on the CPU, over batch and hidden sizes.

As in the server, the CPU has one thread and runs the faster of the two graphs.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import Tensor, nn

from benchmarks.gpu.rows import FAILED, HELD, MEASURED, Row, rows_or_failure
from rnnserve.export import export_onnx
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.surroundings import one_thread
from rnnserve.server.repository.model import RUN_OPTIONS
from rnnserve.server.repository.providers import new_session

BATCHES = (1, 8, 64, 512)
HIDDEN = (16, 128, 512, 1024)
_CELLS: Mapping[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_STEPS, _FEATURES = 64, 32
_ROUNDING_ROWS = 64

_SECONDS = 0.3
_LEAST_RUNS = 3

_Run = Callable[[], object]


class _Layer(nn.Module):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the final hidden state (1, batch, hidden) of points (batch, sequence, features)."""
        _, state = self.layer(x)
        h_n: Tensor = state if isinstance(state, Tensor) else state[0]
        return h_n


def measure_growth(_: Path, device: str) -> Iterator[Row]:
    """Measure a layer of each cell and hidden size, with batches of each size."""
    for cell in _CELLS:
        for hidden in HIDDEN:
            yield from rows_or_failure("growth", f"{cell} {hidden}", partial(_measure, cell, hidden, device))


def _measure(cell: str, hidden: int, device: str) -> Iterable[Row]:
    torch.manual_seed(0)
    module = _Layer(_CELLS[cell](_FEATURES, hidden, batch_first=True)).eval()
    data = _export(module)
    scan = lower_rnn(data)
    graphs = {"native": data} if scan is None else {"native": data, "scan": scan}
    on_cpu = {name: new_session(graph, "cpu") for name, graph in graphs.items()}
    session = new_session(data, device)
    random = np.random.default_rng(0)
    drawn = {
        batch: random.standard_normal((batch, _STEPS, _FEATURES)).astype(np.float32)
        for batch in dict.fromkeys((*BATCHES, _ROUNDING_ROWS))
    }
    yield _rounding(cell, module, on_cpu["native"], session, drawn[_ROUNDING_ROWS], device)
    for batch in BATCHES:
        x = drawn[batch]
        cpu = {name: _microseconds(partial(_run, one, x)) for name, one in on_cpu.items()}
        fastest = min(cpu, key=lambda name: cpu[name])
        cuda, bound = (
            _microseconds(partial(_run, session, x)),
            _microseconds(partial(_run_bound, session, _bind(session, x, device))),
        )
        note = f"{cpu[fastest] / cuda:.2f} times as fast; {bound:.0f} µs without copies; fastest on the CPU: {fastest}"
        subject = f"{cell} {hidden}, batch {batch}"
        yield Row("growth", subject, f"µs for {_STEPS} steps", MEASURED, cpu[fastest], cuda, note=note)


def _export(module: nn.Module) -> bytes:
    program = export_onnx(
        module,
        (torch.zeros(2, 3, _FEATURES),),
        input_names=["x"],
        output_names=["h_n"],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    data: bytes = program.model_proto.SerializeToString(deterministic=True)
    return data


def _rounding(
    cell: str,
    module: _Layer,
    on_cpu: ort.InferenceSession,
    session: ort.InferenceSession,
    x: npt.NDArray[np.float32],
    device: str,
) -> Row:
    """Compare root mean square distances from the module in float64."""
    with one_thread(), torch.no_grad():
        eager = module(torch.from_numpy(x)).numpy()
        exact = module.double()(torch.from_numpy(x).double()).numpy()
        module.float()

    def rms(found: npt.NDArray[Any]) -> float:
        return float(np.sqrt(np.mean(np.square(found - exact))))

    limits = limits_for(device)
    limit = limits.sequence_rms_factor * rms(eager) + limits.sequence_rms_floor
    cpu, cuda = rms(_run(on_cpu, x)), rms(_run(session, x))
    verdict = HELD if cuda <= limit else FAILED  # NaN counts as a failure
    subject = f"{cell} {module.layer.hidden_size}, batch {len(x)}"
    note = f"eager {rms(eager):.3g}"
    return Row("growth", subject, "distance from float64, root mean square", verdict, cpu, cuda, limit, note)


def _run(session: ort.InferenceSession, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run as the server does: inputs and outputs are arrays in host memory."""
    h_n: npt.NDArray[np.float32] = session.run(None, {"x": x}, RUN_OPTIONS)[0]
    return h_n


def _bind(session: ort.InferenceSession, x: npt.NDArray[np.float32], device: str) -> ort.IOBinding:
    """Bind arrays in the memory of the device."""
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x, device, 0))
    binding.bind_output("h_n", device)
    return binding


def _run_bound(session: ort.InferenceSession, binding: ort.IOBinding) -> None:
    session.run_with_iobinding(binding, RUN_OPTIONS)
    binding.synchronize_outputs()


def _microseconds(run: _Run) -> float:
    """Time inference calls for a while and return the median in microseconds."""
    run()  # the first calls choose algorithms and allocate
    run()
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < _LEAST_RUNS or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6
