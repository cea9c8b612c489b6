"""An output of another size than the manifest says is refused, again and again, and the version's status says why."""

import contextlib

import grpc
import numpy as np
import pytest

from kit.artifacts import build_model, publish_model, tensor
from rnnserve.client import Client, FailedPrecondition
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc, manifest_pb2
from rnnserve.server.testing import serve

X = tensor("x", "FP32", "batch", "sequence", ("features", 2))
LENGTHS = tensor("lengths", "INT64", "batch", lengths_of="sequence", default=manifest_pb2.DEFAULT_FULL_LENGTH)
FITTED = manifest_pb2.DerivedAxis(name="steps", of="sequence", multiply=1, add=0, divide=1)
WINDOW = manifest_pb2.DerivedAxis(name="steps", of="sequence", multiply=1, divide=1, largest=5)


def published(folder, *axes, start=-5, steps=4, batching=manifest_pb2.BATCHING_JOINED, **more):
    """A model of the last five steps, or those from `start` on, described by these axes. Asked by its golden case."""
    inputs, outputs = [X, LENGTHS], [tensor("y", "FP32", "batch", *axes, ("features", 2), **more)]
    # Lengths are read, and count for nothing.
    nodes = """
        kept = Slice (x, start, end, one)  no = Sub (lengths, lengths)  zeros = Cast <to = 1> (no)
        added = Unsqueeze (zeros, axes)  y = Add (kept, added)
    """
    constants = {"start": [start], "end": [2**40], "one": [1], "axes": [1, 2]}
    model = build_model(nodes, inputs, outputs, {name: np.array(value) for name, value in constants.items()})
    sample = {"x": np.ones((2, steps, 2), np.float32), "lengths": np.array([steps, steps])}
    return publish_model(folder, "window", model, inputs, outputs, [sample], batching=batching)


@contextlib.contextmanager
def serving(folder):
    with serve(folder) as server, Client(server.address) as client, grpc.insecure_channel(server.address) as channel:
        yield client, inference_pb2_grpc.GRPCInferenceServiceStub(channel)


def asked(client, steps, rows=1, **more):
    x = np.arange(rows * steps * 2, dtype=np.float32).reshape(rows, steps, 2)
    return x, client.infer("window", {"x": x, **more})["y"]


@pytest.mark.parametrize(
    ("axes", "more", "steps"),
    [
        pytest.param(["steps"], {"derived_axes": [FITTED]}, 4, id="derived"),
        pytest.param(["sequence"], {}, 4, id="as large as the input"),
        pytest.param([("window", 5)], {}, 6, id="fixed"),
    ],
)
def test_unexpected_output_size_is_refused_and_reported_in_the_status(tmp_path, axes, more, steps):
    published(tmp_path, *axes, steps=steps, **more)
    right, wrong = (4, 7) if steps == 4 else (7, 4)
    with serving(tmp_path) as (client, stub):
        for rows, wanted in ((1, wrong), (1, wrong), (1, wrong), (9000, wrong), (1, right), (9000, right)):
            if wanted == wrong:  # alone, by the same prefix, and as a large run
                with pytest.raises(FailedPrecondition, match=rf"\[\d+, {min(wrong, 5)}, 2\] .* expected .* [Pp]ublish"):
                    asked(client, wrong, rows)
            else:
                x, y = asked(client, right, rows)
                np.testing.assert_array_equal(y, x[:, -5:])
        (version,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert version.state == "READY"
    assert 'output "y" has shape [' in version.reason


def test_output_window_is_served_at_every_size(tmp_path):
    published(tmp_path, "steps", derived_axes=[WINDOW])
    with serving(tmp_path) as (client, stub):
        for steps in (1, 4, 5, 6, 50, 6):
            x, y = asked(client, steps)
            np.testing.assert_array_equal(y, x[:, -5:])
        (version,) = stub.RepositoryIndex(pb.RepositoryIndexRequest()).models
    assert not version.reason


@pytest.mark.parametrize(
    ("means", "batching"), [("MEANS_UNSPECIFIED", "joined"), ("MEANS_TRIED", "joined"), ("MEANS_PROVEN", "padded")]
)
def test_requests_of_different_lengths_share_a_batch_only_if_sizes_are_proven(tmp_path, means, batching):
    """Otherwise nothing shows that the output of a shorter row is cut at the right step."""
    axis = manifest_pb2.DerivedAxis(name="steps", of="sequence", multiply=1, add=-1, divide=1, means=means)
    published(tmp_path, "steps", start=1, derived_axes=[axis], batching=manifest_pb2.BATCHING_PADDED)
    with serving(tmp_path) as (client, _):
        assert client.metadata("window").batching == batching
        for row, answer in zip(*rows_and_answers(client, (2, 9, 5)), strict=True):
            np.testing.assert_array_equal(answer["y"], row[1:])


def rows_and_answers(client, lengths):
    rows = [np.arange(2 * steps, dtype=np.float32).reshape(steps, 2) for steps in lengths]
    return rows, client.predict("window", rows)
