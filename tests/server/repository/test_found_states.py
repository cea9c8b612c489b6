"""What a manifest says of found states: paired, in their own file, made of the graph that serves."""

import numpy as np
import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCAN, ArtifactError
from rnnserve.protos.golden import Case
from rnnserve.server.repository.load_version import begun_cases, with_found_states


def tensor(name, size=3, **more):
    axes = [manifest_pb2.Axis(name="batch", size=-1), manifest_pb2.Axis(name="hidden", size=size)]
    return manifest_pb2.Tensor(name=name, datatype="FP32", axes=axes, **more)


@pytest.fixture
def manifest():
    parts = manifest_pb2.Parts(
        file=PARTS, made_of=SCAN, inputs=[tensor("gru.h")], outputs=[tensor("gru.h_n", continues_as="gru.h")]
    )
    return manifest_pb2.Manifest(inputs=[tensor("x")], outputs=[tensor("y")], parts=parts)


def test_inferred_states_appear_only_in_the_graph_for_parts(manifest):
    every = with_found_states(manifest)
    assert [each.name for each in every.inputs] == ["x", "gru.h"]
    assert [each.name for each in every.outputs] == ["y", "gru.h_n"]
    assert [each.name for each in manifest.inputs] == ["x"]


def test_states_that_are_not_paired_are_refused(manifest):
    manifest.parts.outputs[0].continues_as = "another"
    with pytest.raises(ArtifactError, match="must be pairs"):
        with_found_states(manifest)


def test_states_in_another_file_are_refused(manifest):
    manifest.parts.file = MODEL
    with pytest.raises(ArtifactError, match=f'states in "{MODEL}"'):
        with_found_states(manifest)


@pytest.mark.parametrize("default", [None, np.array([[1, 2, 3]], np.float32)])
def test_golden_cases_use_the_initial_states(manifest, default):
    case = Case("step", {"x": np.zeros((2, 3), np.float32)}, {}, {})
    (begun,) = begun_cases([case], manifest, {} if default is None else {"gru.h": default})
    expected = np.zeros((2, 3), np.float32) if default is None else np.repeat(default, 2, 0)
    assert begun.inputs["gru.h"].tobytes() == expected.tobytes()
    assert begun.inputs["x"] is case.inputs["x"]
