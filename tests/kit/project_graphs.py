"""The graphs of the project's own models, native and scan: the tests' modules, the examples, the classifiers."""

import functools
import importlib.util

import onnx
import torch

from kit.own_modules import PUBLICATIONS, own_module
from kit.paths import ROOT
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import Publication
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.model_onnx import to_onnx
from rnnserve.models import LABELS, Architecture, Checkpoint, DirectionClassifier

__all__ = ["CLASSIFIERS", "EXAMPLE_FILES", "NAMES", "project_graphs"]

EXAMPLE_FILES = sorted((ROOT / "examples").glob("*.py"))

CLASSIFIERS = {
    "direction_simple": Architecture(hidden=4),
    "direction_stacked": Architecture(hidden=4, num_layers=2),
    "direction_bidirectional": Architecture(hidden=4, bidirectional=True),
    "direction_relu": Architecture(hidden=4, nonlinearity="relu"),
    "direction_gru": Architecture(cell="gru", hidden=4, num_layers=2, bidirectional=True),
    "direction_lstm": Architecture(cell="lstm", hidden=4, num_layers=2),
}
NAMES = [
    *(f"own {name}" for name in PUBLICATIONS),
    *(f"example {path.stem}" for path in EXAMPLE_FILES),
    *(f"classifier {name}" for name in CLASSIFIERS),
]


@functools.cache
def project_graphs(name: str) -> tuple[ModelDescription, dict[str, onnx.ModelProto]]:
    """Export a model; give its description, and its graphs: "native", and "scan" where there is one."""
    model = describe_model(_publication(name))
    data = to_onnx(model)
    graphs = {"native": onnx.load_model_from_string(data)}
    scan = lower_rnn(data)
    if scan is not None:
        graphs["scan"] = onnx.load_model_from_string(scan)
    return model, graphs


def _publication(name: str) -> Publication:
    kind, _, which = name.partition(" ")
    if kind == "own":
        make, describe = PUBLICATIONS[which]
        return describe(own_module(make).eval())
    if kind == "example":
        (path,) = [path for path in EXAMPLE_FILES if path.stem == which]
        spec = importlib.util.spec_from_file_location(f"untrained_{which}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        vars(module)["train"] = lambda *_, **__: None  # the graph does not depend on the weights
        publication: Publication = module.publication()
        return publication
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        classifier = DirectionClassifier.of(CLASSIFIERS[which])
    return classifier_publication(Checkpoint(which, classifier.eval(), tuple(LABELS), sha256="", training=None))
