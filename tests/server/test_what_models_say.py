"""What the server infers about models when it loads them, and what their metadata report."""

import numpy as np
import pytest

from kit.artifacts import build_model, publish_model
from kit.examples import EXAMPLES, JOINED
from kit.loaded import load_repository
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import manifest_pb2
from rnnserve.server import Settings
from rnnserve.server.errors import StartError
from rnnserve.server.protocol.service import Service


@pytest.fixture(scope="module")
def models(zoo):
    return load_repository(zoo)


def test_every_example_model_is_batch_invariant(models):
    assert {served.model.name for served in models.served() if served.model.batch_invariant} == EXAMPLES.keys()


def test_metadata_describe_tensors_and_batching(models):
    service = Service(models, Settings(provider="cpu"))

    def said(name):
        answer = service.model_metadata(pb.ModelMetadataRequest(name=name))
        tensors = {
            described.name: {key: value.WhichOneof("parameter_choice") for key, value in described.parameters.items()}
            for described in [*answer.inputs, *answer.outputs]
        }
        return answer, tensors

    answer, tensors = said("bag")
    assert tensors == {
        "tokens": {"axes": "string_param", "low": "int64_param", "high": "int64_param"},
        "ends": {"axes": "string_param", "optional": "bool_param", "lengths_of": "string_param"},
        "sums": {"axes": "string_param"},
    }
    tokens, ends = answer.inputs
    assert (tokens.parameters["low"].int64_param, tokens.parameters["high"].int64_param) == (1, 12)
    assert ends.parameters["lengths_of"].string_param == "sequence"
    assert (answer.properties["batching"], answer.properties["origin"]) == (
        "padded", "exported",
    )  # fmt: skip
    answer, tensors = said("step")
    assert tensors["sum_n"] == {"axes": "string_param", "continues_as": "string_param"}
    assert answer.outputs[0].parameters["continues_as"].string_param == "sum_0"
    assert answer.inputs[0].shape == [-1, 2]
    assert said("neighbours")[0].properties["batching"] == "alone"
    assert said("two_axes")[0].properties["batching"] == "joined"


def test_imported_version_is_served_only_with_allow_unproven(tmp_path, caplog):
    example = EXAMPLES["two_axes"]
    model = build_model(example.nodes, example.inputs, example.outputs, example.constants)
    adopted = manifest_pb2.ORIGIN_ADOPTED
    floats = [example.inputs[0], manifest_pb2.Tensor()]
    floats[1].CopyFrom(example.inputs[1])
    floats[1].floats.CopyFrom(manifest_pb2.FloatRange(low=-0.5, high=1.5))
    samples = [example.draw(np.random.default_rng(7))]
    publish_model(tmp_path, "m", model, floats, example.outputs, samples, batching=JOINED, origin=adopted)
    why = "the version was imported from an ONNX file and not compared with its framework"
    with pytest.raises(StartError, match=rf"version 1: manifest\.json: {why}; to serve it, use --allow-unproven"):
        load_repository(tmp_path)
    models = load_repository(tmp_path, allow_unproven=True)
    assert f"m version 1: {why}" in caplog.text
    answer = Service(models, Settings(provider="cpu")).model_metadata(pb.ModelMetadataRequest(name="m"))
    assert answer.properties["origin"] == "adopted"
    parameters = answer.inputs[1].parameters
    assert (parameters["low"].double_param, parameters["high"].double_param) == (-0.5, 1.5)
