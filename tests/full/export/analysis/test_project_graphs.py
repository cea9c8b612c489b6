"""The project's own models: what is proven of each, and that no operator that mixes rows can hide in one."""

import onnx
import pytest
import torch

from kit.own_modules import EXAMPLE_FILES, OWN, publication_of
from rnnserve.export.analysis import Property, Verdict, decide, worst
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.described_tensors import ModelDescription
from rnnserve.export.description.publication import Publication
from rnnserve.export.lowering import lower_rnn
from rnnserve.export.model_onnx import to_onnx
from rnnserve.models import LABELS, Architecture, Checkpoint, DirectionClassifier

CLASSIFIERS = {
    "direction_simple": Architecture(hidden=4),
    "direction_stacked": Architecture(hidden=4, num_layers=2),
    "direction_bidirectional": Architecture(hidden=4, bidirectional=True),
    "direction_relu": Architecture(hidden=4, nonlinearity="relu"),
    "direction_gru": Architecture(cell="gru", hidden=4, num_layers=2, bidirectional=True),
    "direction_lstm": Architecture(cell="lstm", hidden=4, num_layers=2),
}
NAMES = [*OWN, *(path.stem for path in EXAMPLE_FILES), *CLASSIFIERS]


def project_graphs(name: str) -> tuple[ModelDescription, list[onnx.ModelProto]]:
    """Export a model; give its description, and its graphs: the native one, and the scan where there is one."""
    model = describe_model(_publication(name))
    data = to_onnx(model)
    return model, [onnx.load_model_from_string(each) for each in (data, lower_rnn(data)) if each is not None]


def _publication(name: str) -> Publication:
    if name not in CLASSIFIERS:
        return publication_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        classifier = DirectionClassifier.of(CLASSIFIERS[name])
    return classifier_publication(Checkpoint(name, classifier.eval(), tuple(LABELS), sha256="", training=None))


@pytest.mark.parametrize("name", NAMES)
def test_independent_rows_and_padding_are_proven(name):
    model, graphs = project_graphs(name)
    for graph in graphs:
        found = {
            kind: worst(decisions.values()) for kind, decisions in decide(graph, model.inputs, model.outputs).items()
        }
        if name == "over_the_batch":
            assert "averages over the rows of the batch" in found[Property.ROWS].reasons[0]
        else:
            assert found[Property.ROWS].verdict is Verdict.PROVEN, found[Property.ROWS]
        if Property.PADDING in found:
            expected = Verdict.REFUTED if name == "mean" else Verdict.PROVEN
            assert found[Property.PADDING].verdict is expected, found[Property.PADDING]
