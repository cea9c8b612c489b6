"""Runs with several threads: a version is tried as it will run, and metadata say with how many."""

import json
from typing import Any

import numpy as np
import pytest

from kit.bad_versions import SAMPLE, publish_good
from kit.fake_trials import FOUND
from kit.inference_requests import arrays, request
from kit.served_here import serving
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.repository import load_version as loading
from rnnserve.server.repository import trial_process, trial_worker
from rnnserve.server.repository.load_version import load_model, try_version
from rnnserve.server.repository.trial_process import Trial, TrialProcess


def threads_of(model) -> int:
    return model.session.get_session_options().intra_op_num_threads


@pytest.mark.parametrize("threads", [1, 3])
def test_a_version_is_tried_and_loaded_with_as_many(tmp_path, monkeypatch, threads):
    folder = publish_good(tmp_path)
    made = []

    def note(model, signature, trials):
        made.append(threads_of(model.__self__))
        return True

    monkeypatch.setattr(loading, "is_batch_invariant", note)
    findings = try_version(folder, "good", "1", "cpu", threads=threads)
    assert made == [threads]
    assert threads_of(load_model(folder, "good", "1", "cpu", threads=threads, known=findings)) == threads
    assert threads_of(load_model(folder, "good", "1", "cpu", threads=threads)) == threads


class FakeProcess:
    """Takes requests, and has computed as long as it is said."""

    processor_seconds = 5.0

    def __init__(self, niceness):
        self.sent = []
        assert niceness == 0

    def receive(self, _):
        return b""

    def send(self, data, _):
        self.sent.append(data)

    def kill(self):
        pass

    close = kill


def test_the_process_that_tries_is_told_and_each_thread_may_compute_as_long(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(trial_process, "GuardedProcess", lambda *_, **more: made.append(FakeProcess(**more)) or made[0])
    one = TrialProcess()
    may_take: dict[str, Any] = {"max_bytes": 1, "seconds": 5.0, "processor_seconds": 0.5}
    one.begin(Trial(tmp_path, "m", "1", "cpu", "auto", allow_unproven=False, threads=4, **may_take))
    assert json.loads(made[0].sent[-1])["threads"] == 4
    assert one._most_computed == FakeProcess.processor_seconds + 4 * 0.5


@pytest.mark.parametrize(("threads", "seconds", "stacks"), [(1, 6.0, 0), (2, 6.0, 16 << 20), (8, 24.0, 7 * 16 << 20)])
def test_its_limits_leave_room_for_threads(tmp_path, monkeypatch, threads, seconds, stacks):
    found, limits = [], []
    monkeypatch.setattr(trial_worker, "limit_memory", limits.append)
    monkeypatch.setattr(trial_worker, "limit_processor_seconds", limits.append)
    monkeypatch.setattr(trial_worker, "try_version", lambda *_, **more: found.append(more["threads"]) or FOUND)
    answer = trial_worker.try_out(
        str(tmp_path),
        "m",
        "1",
        "cpu",
        graph="auto",
        allow_unproven=False,
        max_bytes=1000,
        threads=threads,
        seconds=3.0,
        inside=None,
    )
    assert answer == {"findings": FOUND.as_fields()}
    assert found == [threads]
    assert limits == [seconds, 1000 + stacks]


def test_a_server_says_how_many_its_runs_have(tmp_path):
    publish_good(tmp_path)
    with serving(tmp_path, threads=2) as (server, stub):
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="good")).properties["threads"] == "2"
        assert threads_of(server._repository.find("good").model) == 2
        answer = stub.ModelInfer(request("good", SAMPLE))
    np.testing.assert_array_equal(arrays(answer)["output"], 2 * SAMPLE["input"])
