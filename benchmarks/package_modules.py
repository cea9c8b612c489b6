"""Publish recurrent modules of packages on PyPI as they are, serve them, and compare answers with the modules' own.

    pip install --no-deps --target FOLDER ncps mambapy snntorch minGRU-pytorch spikingjelly cerebral-lstm conv-lstm
    pip install --no-deps --target FOLDER comfi-fast-grnn-torch liquidnn pytorch-sublstm pytorch-tcn lru-pytorch
    pip install --no-deps --target FOLDER bi-lstm-crf pytorch-adaptive-computation-time speechbrain
    pip install --no-deps --target FOLDER minimamba array-lstm norse nir nirtorch xlstm omegaconf s5-pytorch auto-esn
    pip install --no-deps --target FOLDER denoiser ur-lstm-torch torchrecurrent neuralfields
    pip install --no-deps --target FOLDER light-recurrent-unit-pytorch einx frozendict torch-einops-utils
    pip install --no-deps --target FOLDER networkx scipy openunmix torchaudio einops loguru hyperpyyaml
    pip install --no-deps --target FOLDER PyYAML ruamel.yaml sentencepiece
    pip install --no-deps --target FOLDER additive-recurrent-unit gsmc-torch pytorch-cqrn torch-dimensions
    pip install --no-deps --target FOLDER rnn-classifiers resdag pytorch-symbolic
    python -m benchmarks.package_modules FOLDER [NAME …]

prints a row for each module, of which docs/reference/compatibility.md has the results. Each module is asked with normal
values and with zeros, 300 times the usual, 1e-12 times, and one value for all, alone, in a crowd, with three rows in a
request, and in parts where that is proven. A distance is the largest difference from the module itself, as a part of
the largest value, or of 1.
"""

import argparse
import importlib
import importlib.metadata
import itertools
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.package_descriptions import MODULES
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Publication, publish
from rnnserve.export.description.described_model import DescribedModel, describe_model, evaluating
from rnnserve.export.errors import ExportError
from rnnserve.export.tensors import draw_inputs
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.protos.manifest_pb2 import Manifest
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

Arrays = dict[str, npt.NDArray[Any]]

_KINDS: Final = {"usual": 1.0, "zeros": 0.0, "large": 300.0, "tiny": 1e-12, "one value": 1.0}
_LENGTHS: Final = (1, 2, 7, 23)
_STEPS, _CUTS = 15, (0, 3, 4, 8, 10)  # of a sequence in parts
_CROWD, _THREADS = 24, 12


class _Asked:
    """A served model, and the module that it was made of."""

    def __init__(self, name: str, model: DescribedModel, client: Client) -> None:
        self._name, self._model, self._client = name, model, client
        self._random = np.random.default_rng(1)

    def _draw(self, rows: int, steps: int, kind: str = "usual") -> Arrays:
        sizes = {
            axis: int(np.clip(rows if axis == "batch" else steps + at, low, high))
            for at, (axis, (low, high)) in enumerate(self._model.sizes.items())
        }
        arrays = draw_inputs(self._model.inputs, self._random, sizes)
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                drawn = np.full_like(array, 1.5) if kind == "one value" else array * _KINDS[kind]
                arrays[name] = drawn.astype(array.dtype)
        return arrays

    def _distance(self, arrays: Arrays) -> float:
        own = self._own(arrays)
        if not all(np.isfinite(each).all() for each in own.values()):
            # The module divides by zero, say: the server refuses to answer what is no number.
            try:
                self._client.infer(self._name, arrays)
            except InvalidRequest:
                return 0.0
            return np.inf
        found = self._client.infer(self._name, arrays)
        return max(_apart(found[name], each) for name, each in own.items())

    def _own(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        with torch.no_grad():
            return self._model.module.run(arrays)

    def distances(self) -> list[float]:
        """Give the largest distances: usual values, others, in a crowd, several rows."""
        kinds = {kind: max(self._distance(self._draw(1, steps, kind)) for steps in _LENGTHS) for kind in _KINDS}
        crowd = [self._draw(1, int(self._random.integers(1, 30))) for _ in range(_CROWD)]
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(lambda arrays: self._client.infer(self._name, arrays), crowd))
        own = [self._own(arrays) for arrays in crowd]
        worst = max(_apart(one[name], other[name]) for one, other in zip(found, own, strict=True) for name in other)
        return [kinds.pop("usual"), max(kinds.values()), worst, self._distance(self._draw(3, 6))]

    def in_parts(self) -> str:
        """Send a sequence in parts, and give how far the answers are from the whole."""
        whole = self._draw(1, _STEPS)
        places = {
            tensor.name: [axis.name for axis in tensor.axes] for tensor in (*self._model.inputs, *self._model.outputs)
        }
        states = {tensor.continues_as for tensor in self._model.outputs if tensor.continues_as}
        axes = self._model.sequence_axes
        if len(axes) != 1 or self._model.lengths:
            return ""
        whole = {name: np.zeros_like(array) if name in states else array for name, array in whole.items()}
        steps = next(
            array.shape[places[name].index(axes[0])] for name, array in whole.items() if axes[0] in places[name]
        )
        answers: list[Mapping[str, npt.NDArray[Any]]] = []
        with self._client.session(self._name) as session:
            for first, end in itertools.pairwise((*_CUTS, steps)):
                numbers = range(first, end)
                part = {
                    name: array.take(numbers, places[name].index(axes[0])).take(0, places[name].index("batch"))
                    for name, array in whole.items()
                    if name not in states
                }
                answers.append(session.step(part))
        worst, kept = 0.0, {tensor.name for tensor in self._model.outputs if tensor.continues_as}
        for name, own in self._own(whole).items():
            rest = [axis for axis in places[name] if axis != "batch"]
            if name not in kept and axes[0] in rest:  # a session keeps its states
                made = np.concatenate([each[name] for each in answers], rest.index(axes[0]))
                worst = max(worst, _apart(made, own.take(0, places[name].index("batch"))))
        return f"{worst:.1g}"


def _apart(found: npt.NDArray[Any], own: npt.NDArray[Any]) -> float:
    if found.shape != own.shape:
        return np.inf
    one, other = found.astype(float), own.astype(float)
    return float((np.abs(one - other) / max(1.0, np.abs(other).max(initial=0))).max(initial=0))


def _publication(name: str) -> Publication:
    _, path, make, inputs, outputs, rest = MODULES[name]
    torch.manual_seed(0)
    module = make(importlib.import_module(path)).eval()
    return Publication(module, _served(name), inputs, outputs, **rest)


def _served(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower())


def _row(name: str, folder: Path) -> Sequence[str]:
    package = MODULES[name][0]
    head = [f"{package} {importlib.metadata.version(package)}", name]
    try:
        described = _publication(name)
    except Exception as error:  # noqa: BLE001 - another version of the package, or a library that it lacks
        return [*head, f"not made: {type(error).__name__}: {error}", *[""] * 7]
    try:
        manifest: Manifest = publish(described, repository=folder, progress=False).manifest
    except ExportError as error:
        return [*head, f"refused: {str(error).partition('. ')[0]}", *[""] * 7]
    publication = _publication(name)
    with evaluating(publication.module):
        model = describe_model(publication)
    with serve(folder, Settings(provider="cpu")) as server, Client(server.address) as client:
        asked = _Asked(publication.name, model, client)
        found = [f"{each:.1g}" for each in asked.distances()]
        states = bool(manifest.parts.file) or any(tensor.continues_as for tensor in manifest.outputs)
        found.append(asked.in_parts() if states else "")
    mode = BATCHING_MODES[manifest.batching.mode].partition(":")[0]
    parts = manifest.parts.reason or ("states found" if manifest.parts.file else "states declared" if states else "no")
    return [*head, "as it is", mode, parts, *found]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="publish modules of packages, serve them, and compare answers")
    parser.add_argument("folder", type=Path, help="where the packages were installed")
    parser.add_argument("names", nargs="*", help="modules; all if none is named")
    arguments = parser.parse_args()
    sys.path.append(str(arguments.folder))
    warnings.simplefilter("ignore")
    print(
        "| package | module | how | mode | states, or why served whole | usual | other values | crowd | rows | parts |"
    )
    print(f"|{' --- |' * 10}")
    for name in arguments.names or MODULES:
        with tempfile.TemporaryDirectory() as repository:
            print(f"| {' | '.join(_row(name, Path(repository)))} |", flush=True)


if __name__ == "__main__":
    main()
