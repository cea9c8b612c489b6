"""Publish recurrent modules of PyPI packages unchanged, serve them, and compare responses with the modules' outputs.

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

prints a row for each module, the source of the results in docs/reference/compatibility.md. Each module gets usual
values, zeros, 300 times the usual values, 1e-12 times the usual values, and one value everywhere. It gets single
requests, many requests at once, requests with three rows, and sequences in parts if these are proven. A distance is the
largest difference from the module's outputs, divided by the largest value or by 1 if that is larger.
"""

import argparse
import importlib
import importlib.metadata
import itertools
import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.asked_model import KINDS, USUAL, AskedModel, apart
from benchmarks.package_descriptions import MODULES
from rnnserve.client import Client
from rnnserve.export import Publication, publish
from rnnserve.export.description.described_model import describe_model, evaluating
from rnnserve.export.errors import ExportError
from rnnserve.export.tensors import axis_of
from rnnserve.protos.batching_modes import BATCHING_MODES
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve

_LENGTHS: Final = (1, 2, 7, 23)
_STEPS, _CUTS = 15, (0, 3, 4, 8, 10)  # steps of a sequence in parts


def _distances(asked: AskedModel) -> list[float]:
    """Return the largest distances: usual values, others, in a crowd, several rows."""
    kinds = {kind: max(asked.distance(asked.draw(1, steps, kind)) for steps in _LENGTHS) for kind in KINDS}
    return [kinds.pop(USUAL), max(kinds.values()), asked.distance_in_a_crowd(), asked.distance(asked.draw(3, 6))]


def _in_parts(asked: AskedModel, axes: Sequence[str]) -> str:
    """Send a sequence in parts and return the distance from the whole. Empty unless there is one sequence."""
    manifest = asked.manifest
    if len(axes) != 1 or any(tensor.lengths_of for tensor in manifest.inputs):
        return ""
    drawn = asked.draw(1, _STEPS)
    whole = {name: np.zeros_like(array) if name in asked.states else array for name, array in drawn.items()}
    places = {tensor.name: axis_of(tensor, axes[0]) for tensor in (*manifest.inputs, *manifest.outputs)}
    sequences = {name: at for name, at in places.items() if at is not None and name not in asked.states.values()}
    steps = next(whole[name].shape[at] for name, at in sequences.items() if name in whole)
    parts = [
        {
            name: array.take(range(first, end), sequences[name]) if name in sequences else array
            for name, array in whole.items()
            if name not in asked.states
        }
        for first, end in itertools.pairwise((*_CUTS, steps))
    ]
    answers = asked.in_session(parts)
    own = {name: array for name, array in asked.own(whole).items() if name in sequences}  # a session keeps its states
    found = {
        name: np.concatenate([np.expand_dims(each[name], asked.batch[name]) for each in answers], sequences[name])
        for name in own
    }
    return f"{apart(found, own):.1g}" if own else "0"


def _publication(name: str) -> Publication:
    described = MODULES[name]
    torch.manual_seed(0)
    module = described.make(importlib.import_module(described.path)).eval()
    served = re.sub(r"\W+", "_", name.lower())
    return Publication(module, served, described.inputs, list(described.outputs), **described.rest)


def _row(name: str, folder: Path) -> Sequence[str]:
    package = MODULES[name].package
    head = [f"{package} {importlib.metadata.version(package)}", name]
    try:
        described = _publication(name)
    except Exception as error:  # noqa: BLE001 - another version of the package, or a library that it lacks
        return [*head, f"not made: {type(error).__name__}: {error}", *[""] * 7]
    try:
        manifest = publish(described, repository=folder, progress=False).manifest
    except ExportError as error:
        return [*head, f"refused: {str(error).partition('. ')[0]}", *[""] * 7]
    publication = _publication(name)
    with evaluating(publication.module):
        model = describe_model(publication)
    with serve(folder, Settings(provider="cpu")) as server, Client(server.address) as client:
        asked = AskedModel(manifest, model.module.run, client)
        found = [f"{each:.1g}" for each in _distances(asked)]
        states = bool(manifest.parts.file) or bool(asked.states)
        found.append(_in_parts(asked, model.sequence_axes) if states else "")
    mode = BATCHING_MODES[manifest.batching.mode].partition(":")[0]
    parts = manifest.parts.reason or ("states found" if manifest.parts.file else "states declared" if states else "no")
    return [*head, "as it is", mode, parts, *found]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="publish modules of packages, serve them, and compare answers")
    parser.add_argument("folder", type=Path, help="folder in which the packages were installed")
    parser.add_argument("names", nargs="*", help="modules to try (default: all)")
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
