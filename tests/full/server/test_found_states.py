"""Found states with either transport, cut in any way, and in sessions of the client."""

import numpy as np
import pytest

from kit.cut_graphs import FEATURES
from kit.found_model import BACKWARD, MODEL, drawn, import_found
from kit.inference_requests import request
from kit.sequence_requests import PATIENCE, in_parts, raw
from kit.served import served
from rnnserve.client import Client
from rnnserve.client.errors import DeadlineExceeded, FailedPrecondition, InvalidRequest
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.testing import serve


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return import_found(tmp_path_factory.mktemp("found"))


@pytest.fixture(scope="module", params=[False, True], ids=["fast", "plain"])
def stub(request, repository):
    with served(repository, plain=request.param, allow_unproven=True) as server:
        yield server.stub


@pytest.mark.parametrize("rows", [1, 2])
def test_however_a_sequence_is_cut_the_answers_are_the_same_bits(stub, rows):
    inputs = drawn(12, rows)
    whole = np.frombuffer(raw(stub.ModelInfer(request(MODEL, {"x": inputs}, ["y"])))[0], np.float32).reshape(
        rows, 12, -1
    )
    for number, parts in enumerate(([12], [1] * 12, [5, 7], [1, 11], [11, 1])):
        answers = [
            stub.ModelInfer(message)
            for message in in_parts(inputs, parts, number + 1, input_name="x", name=MODEL, outputs=["y"])
        ]
        found = [np.frombuffer(raw(answer)[0], np.float32).reshape(rows, -1, FEATURES) for answer in answers]
        assert np.concatenate(found, 1).tobytes() == whole.tobytes()
        streamed = stub.ModelStreamInfer(
            in_parts(inputs, parts, number + 1, input_name="x", name=MODEL, outputs=["y"]), timeout=PATIENCE
        )
        assert [raw(each.infer_response) for each in streamed] == [raw(answer) for answer in answers]
        assert [output.name for output in answers[-1].outputs] == ["y"]


def test_sequences_count_as_requests_of_their_model(stub):
    def counted():
        (found,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name=MODEL)).model_stats
        return found.inference_count

    before = counted()
    for message in in_parts(drawn(3), [1, 2], 95, input_name="x", name=MODEL, outputs=["y"]):
        stub.ModelInfer(message)
    assert counted() == before + 2


@pytest.mark.parametrize("key", [False, True])
def test_a_session_gives_the_bits_of_the_whole(repository, tmp_path, key):
    """The states are kept by a server without a key, and sealed by one that has one."""
    inputs = drawn(5)
    file = tmp_path / "key"
    file.write_bytes(bytes(range(128, 160)))
    file.chmod(0o600)
    settings = Settings(provider="cpu", allow_unproven=True, session_key=file if key else None)
    with serve(repository, settings) as server, Client(server.address) as client:
        (whole,) = client.predict(MODEL, inputs)
        with client.session(MODEL) as session:
            steps = np.stack([session.step(point)["y"] for point in inputs[0]])
            assert session.state == ("sealed" if key else "server")
            assert steps.tobytes() == whole["y"].tobytes()
            session.reset()
            assert session.step(inputs[0])["y"].tobytes() == whole["y"].tobytes()
            with pytest.raises(InvalidRequest):
                session.step(np.zeros(FEATURES + 1, np.float32))
            session.step(inputs[0])  # the refused step has cost nothing
        with pytest.raises(InvalidRequest, match="no part of its interface"), client.session(MODEL, state="carried"):
            pass
        with pytest.raises(InvalidRequest, match=r"gru \(backward\) reads the sequence"), client.session(BACKWARD):
            pass


def test_a_kept_session_whose_answer_was_lost_is_over_until_it_is_reset(repository):
    settings = Settings(provider="cpu", allow_unproven=True)
    with serve(repository, settings) as server, Client(server.address) as client, client.session(MODEL) as session:
        session.step(drawn(1)[0])
        with pytest.raises(DeadlineExceeded):
            session.step(drawn(1)[0], timeout=1e-9)
        with pytest.raises(FailedPrecondition, match="an answer was lost"):
            session.step(drawn(1)[0])
        session.reset()
        session.step(drawn(1)[0])
