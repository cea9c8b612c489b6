from rnnserve.client.metadata import read_metadata
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.derived_size import DerivedSize


def described(**parameters):
    """The one input of a model whose server describes it with these texts."""
    answer = pb.ModelMetadataResponse(name="m", versions=["1"])
    tensor = answer.inputs.add(name="x", datatype="FP32", shape=[-1, -1, 2])
    for name, text in parameters.items():
        tensor.parameters[name].string_param = text
    return read_metadata(answer).inputs["x"]


def test_limits_and_derived_sizes_are_read_and_ignored_when_malformed():
    found = described(limits='{"sequence": [5, 64]}', derived='{"frames": ["sequence", 1, -2, 4]}')
    assert found.limits == {"sequence": (5, 64)}
    assert found.derived == {"frames": DerivedSize("sequence", 1, -2, 4)}
    for text in ("no JSON", "[1]", '{"sequence": 5}', '{"sequence": ["few", 1]}', '{"sequence": [1]}'):
        found = described(limits=text, derived=text)
        assert (found.limits, found.derived) == ({}, {})
