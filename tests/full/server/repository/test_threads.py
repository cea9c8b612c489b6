"""Runs with several threads: a version is tried as it will run, and metadata say with how many."""

import numpy as np

from kit.bad_versions import SAMPLE, publish_good
from kit.inference_requests import arrays, request
from kit.served import served
from rnnserve.protos import inference_pb2 as pb


def threads_of(model) -> int:
    return model.session.get_session_options().intra_op_num_threads


def test_a_server_says_how_many_its_runs_have(tmp_path):
    publish_good(tmp_path)
    with served(tmp_path, threads=2) as running:
        stub, server = running.stub, running.server
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="good")).properties["threads"] == "2"
        assert threads_of(server._repository.find("good").model) == 2
        answer = stub.ModelInfer(request("good", SAMPLE))
    np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])
