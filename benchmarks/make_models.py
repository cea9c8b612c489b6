"""The measured models, published like those of `rnnserve export`, and the answers of eager PyTorch.

It is a separate program, `python -m benchmarks.make_models FOLDER`, so that the process that measures does not load
torch:

::

    <FOLDER>/all_outputs/<model>/    as published, with all outputs
            /logits_only/<model>/    the same weights as a module has them that neither takes nor gives states: they are
                                     found, as `rnnserve export` finds them
            /sequences/<model>/      the same weights without `output`; config.pbtxt says that states are kept; only of
                                     models that a scenario asks step by step
            /three_models/<model>/   the tutorial's three architectures, to measure the start of a server
            /answers.npz             <model>/<length>/input, (batch, sequence, features) = (1, length, 2) float32, and
                                     <model>/<length>/logits, (batch, classes) = (1, 2) float32
            /sources.sha256          digest of the sources; the folder is made again if it differs

perf_analyzer asks for all outputs of a model, so in `logits_only` every server answers with the logits only.
"""

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.scenarios import MODELS, SCENARIOS
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.found_states.parts_file import find_parts_of
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.pipeline import publish
from rnnserve.export.publishing import publish_version, render_config
from rnnserve.models import ARCHITECTURES, Architecture, Checkpoint, DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, describe_file, dump_manifest, read_version
from rnnserve.protos.golden import Case, dump_cases, load_cases
from rnnserve.protos.serving_graph import choose_file

_LABELS = ("counter-clockwise", "clockwise")
_SEED = 13
_MARGIN = 1e-2
"""Least difference of the two logits of a request, so that its label does not depend on rounding."""

_SOURCES = ("models", "export", "protos")


def make_models(folder: Path) -> None:
    """Write the folder, unless it exists with the digest of the same sources."""
    with make_anew(folder, Path(__file__), repr(sorted(MODELS.items()))) as is_missing:
        if is_missing:
            _make(folder)


@contextlib.contextmanager
def make_anew(folder: Path, program: Path, models: str) -> Iterator[bool]:
    """Yield whether a folder has to be made: it is then empty, and marked as complete after the block.

    Args:
        folder: The folder.
        program: The program that makes it; it is made again if that changes, or any source that exports.
        models: A description of what it contains; likewise.
    """
    digest = _digest_sources(program, models)
    stamp = folder / "sources.sha256"
    is_missing = not stamp.is_file() or stamp.read_text() != digest
    if is_missing:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        torch.set_num_threads(1)
    yield is_missing
    stamp.write_text(digest)


def _digest_sources(program: Path, models: str) -> str:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256(f"{torch.__version__} {models}".encode())
    paths = [path for source in _SOURCES for path in sorted((root / source).rglob("*.py"))]
    for path in (*paths, program):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make(folder: Path) -> None:
    answers: dict[str, np.ndarray] = {}
    for name, (cell, hidden) in MODELS.items():
        classifier = make_classifier(cell, hidden)
        publish_classifier(name, classifier, folder / "all_outputs")
        _publish_outputs(folder / "all_outputs" / name, folder / "logits_only" / name, ("logits",))
        if any(scenario.load.steps and scenario.model == name for scenario in SCENARIOS):
            _publish_outputs(folder / "all_outputs" / name, folder / "sequences" / name, ("logits", "h_n"))
        answers |= _answer_requests(name, classifier)
    for name, architecture in ARCHITECTURES.items():
        publish_classifier(name, _make_classifier(architecture), folder / "three_models")
    np.savez(folder / "answers.npz", **answers)  # type: ignore[arg-type]


def make_classifier(cell: str, hidden: int) -> DirectionClassifier:
    """Return a classifier with weights that follow from a seed, in evaluation mode."""
    return _make_classifier(Architecture(cell=cell, hidden=hidden))


def _make_classifier(architecture: Architecture) -> DirectionClassifier:
    torch.manual_seed(_SEED)
    return DirectionClassifier.of(architecture).eval()


def publish_classifier(name: str, classifier: DirectionClassifier, repository: Path) -> None:
    """Publish a classifier as `rnnserve export` does."""
    publish(
        classifier_publication(Checkpoint(name, classifier, _LABELS, "0" * 64, None)),
        repository=repository,
        progress=False,
    )


def _publish_outputs(complete: Path, model: Path, names: tuple[str, ...]) -> None:
    """Publish a model again with these of its outputs; with its states, too, where they are among them.

    Without, they are what `rnnserve export` finds in the graph: a server may run such a model by steps, too.
    """
    keeps_states = "h_n" in names
    newest = max((path for path in complete.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    version = read_version(newest)
    graph = onnx.load_from_string(version.files[MODEL])
    for output in [output for output in graph.graph.output if output.name not in names]:
        graph.graph.output.remove(output)
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(version.manifest)
    states = [] if keeps_states else [tensor.name for tensor in manifest.inputs if tensor.name.endswith("_0")]
    _begin_with_zeros(graph, states)
    inputs = [tensor for tensor in manifest.inputs if tensor.name not in states]
    kept = [tensor for tensor in manifest.outputs if tensor.name in names]
    cases = [
        Case(
            c.kind,
            {tensor.name: c.inputs[tensor.name] for tensor in inputs},
            {n: c.eager[n] for n in names},
            {n: c.float64[n] for n in names},
        )
        for c in load_cases(version.files[GOLDEN])
        if not any(c.inputs[name].any() for name in states)
    ]
    files = {
        MODEL: graph.SerializeToString(deterministic=True),
        SCRIPT: version.files[SCRIPT],
        GOLDEN: dump_cases(cases),
    }
    scan = lower_rnn(files[MODEL])
    if scan is not None:
        files[SCAN] = scan
    del manifest.inputs[:], manifest.outputs[:], manifest.files[:]
    manifest.inputs.extend(inputs)
    manifest.outputs.extend(kept)
    if states:
        parts = find_parts_of(manifest, files, MODEL if scan is None else choose_file(files[MODEL])[0])
        if parts.record is None or parts.record.reason:
            raise RuntimeError(f"{model.name}: its states were not found: {parts.record}")
        manifest.parts.CopyFrom(parts.record)
        files |= parts.files({})
    manifest.files.extend(describe_file(name, data) for name, data in files.items())
    files[MANIFEST] = dump_manifest(manifest)
    publish_version(model, files, render_config(model.name, inputs, kept, keeps_states=keeps_states))


def _begin_with_zeros(graph: onnx.ModelProto, states: Collection[str]) -> None:
    """Take initial states out of a graph's inputs: without, its operators begin with zeros."""
    for input in [input for input in graph.graph.input if input.name in states]:
        graph.graph.input.remove(input)
    for node in graph.graph.node:
        node.input[:] = ["" if name in states else name for name in node.input]


def _answer_requests(name: str, classifier: DirectionClassifier) -> dict[str, np.ndarray]:
    """Draw an input of each length, 1 to 64 points; return inputs and eager's logits by their names in answers.npz."""
    generator = torch.Generator().manual_seed(_SEED)
    found: dict[str, np.ndarray] = {}
    for length in range(1, 65):
        while True:
            input = torch.rand(1, length, 2, generator=generator) * 2 - 1  # (batch, sequence, features), -1 to 1
            with torch.no_grad():
                logits = classifier(input)[0]
            if abs(float(logits[0, 0] - logits[0, 1])) > _MARGIN:
                break
        found[f"{name}/{length}/input"] = input.numpy()
        found[f"{name}/{length}/logits"] = logits.numpy()
    return found


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))
