"""Large graphs have one session for whole requests and for parts of sequences, with the bits of two."""

import numpy as np

from rnnserve.protos import manifest_pb2
from rnnserve.server.repository.shared_session import Beginning


def test_a_beginning_has_the_rows_of_the_run():
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
