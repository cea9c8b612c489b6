"""What a manifest says of found states: paired, in their own file, made of the graph that serves."""

import numpy as np
import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MODEL, PARTS, SCAN, ArtifactError
from rnnserve.server.repository.found_states import Beginning, with_found_states


def tensor(name, size=3, **more):
    axes = [manifest_pb2.Axis(name="batch", size=-1), manifest_pb2.Axis(name="hidden", size=size)]
    return manifest_pb2.Tensor(name=name, datatype="FP32", axes=axes, **more)


@pytest.fixture
def manifest():
    parts = manifest_pb2.Parts(
        file=PARTS, made_of=SCAN, inputs=[tensor("gru.h")], outputs=[tensor("gru.h_n", continues_as="gru.h")]
    )
    return manifest_pb2.Manifest(inputs=[tensor("x")], outputs=[tensor("y")], parts=parts)


def test_found_states_are_among_the_tensors_of_the_graph_of_parts_only(manifest):
    every = with_found_states(manifest)
    assert [each.name for each in every.inputs] == ["x", "gru.h"]
    assert [each.name for each in every.outputs] == ["y", "gru.h_n"]
    assert [each.name for each in manifest.inputs] == ["x"]


def test_states_that_are_not_paired_are_refused(manifest):
    manifest.parts.outputs[0].continues_as = "another"
    with pytest.raises(ArtifactError, match="not paired"):
        with_found_states(manifest)


def test_states_in_another_file_are_refused(manifest):
    manifest.parts.file = MODEL
    with pytest.raises(ArtifactError, match=f'states in "{MODEL}"'):
        with_found_states(manifest)


def test_a_beginning_has_the_rows_of_the_run_and_the_recorded_values():
    def tensor(name):
        axes = [manifest_pb2.Axis(name="layers", size=1), manifest_pb2.Axis(name="batch", size=-1)]
        return manifest_pb2.Tensor(name=name, datatype="FP32", axes=axes)

    manifest = manifest_pb2.Manifest(inputs=[tensor("x")], parts=manifest_pb2.Parts(inputs=[tensor("h"), tensor("c")]))
    begin = Beginning(manifest, {"c": np.full((1, 1), 7, np.float32)})
    for rows in (3, 1, 3, 100):
        feeds = begin({"x": np.zeros((1, rows), np.float32)})
        assert list(feeds) == ["x", "h", "c"]
        assert {name: array.shape for name, array in feeds.items()} == dict.fromkeys(feeds, (1, rows))
        assert (feeds["h"] == 0).all()
        assert (feeds["c"] == 7).all()
