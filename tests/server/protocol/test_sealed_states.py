"""Sessions whose states travel with the client, sealed: over a real connection, and without one where time passes."""

import base64
import dataclasses
import secrets
import time

import grpc
import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.loaded import load_repository
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.batching.execution import CheckedBatch
from rnnserve.server.errors import InvalidRequest, NotReady, SessionEnded, StartError, Unsupported
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.service import Service
from rnnserve.server.protocol.token_sealing import TokenSealing
from rnnserve.server.repository.repository import ServedVersion

MODEL = "direction_stacked"


def walks(batch=3, sequence=6, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, sequence, 2)).astype(np.float32)


def step(points, session="sealed", outputs=("logits", "output"), model=MODEL, **more):
    message = request(model, {"input": np.ascontiguousarray(points)}, outputs, **more)
    message.parameters["session"].string_param = session
    return message


def refusal(stub, message):
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(message)
    return refused.value.code().name, refused.value.details()


@pytest.mark.parametrize("cuts", [(1, 1, 1, 1, 1, 1), (2, 4), (5, 1), (6,)])
def test_steps_get_the_bits_of_the_whole_sequence(stub, cuts):
    points, token, parts = walks(), "sealed", []
    whole = arrays(stub.ModelInfer(request(MODEL, {"input": points}, ["logits", "output"])))
    at = 0
    for size in cuts:
        response = stub.ModelInfer(step(points[:, at : at + size], token, id="7"))
        at += size
        token = response.parameters["session"].string_param
        assert response.parameters["session_steps"].int64_param == at
        assert (response.id, response.model_name, response.model_version) == ("7", MODEL, "1")
        parts.append(arrays(response))
        assert list(parts[-1]) == ["logits", "output"]  # the final states are in the token only
    assert np.concatenate([part["output"] for part in parts], 1).tobytes() == whole["output"].tobytes()
    assert parts[-1]["logits"].tobytes() == whole["logits"].tobytes()


def test_a_session_may_begin_with_states_and_ask_for_them(stub):
    points, h_0 = walks(), np.full((2, 3, 16), 0.25, np.float32)
    whole = arrays(stub.ModelInfer(request(MODEL, {"input": points, "h_0": h_0})))
    first = request(MODEL, {"input": np.ascontiguousarray(points[:, :2]), "h_0": h_0})
    first.parameters["session"].string_param = "sealed"
    token = stub.ModelInfer(first).parameters["session"].string_param
    rest = arrays(stub.ModelInfer(step(points[:, 2:], token, outputs=())))
    assert list(rest) == ["logits", "output", "h_n"]  # where no output is named, all are answered
    assert rest["h_n"].tobytes() == whole["h_n"].tobytes()


def test_typed_tensors_are_answered_raw(stub):
    points = walks()
    token = stub.ModelInfer(step(points[:, :2], raw=False)).parameters["session"].string_param
    response = stub.ModelInfer(step(points[:, 2:], token, raw=False))
    whole = stub.ModelInfer(request(MODEL, {"input": points}, ["logits"], raw=False))
    assert [output.name for output in response.outputs] == ["logits", "output"]
    assert response.raw_output_contents[0] == whole.raw_output_contents[0]
    assert response.parameters["session"].string_param


def test_rows_of_different_lengths_continue(stub):
    points, lengths = walks(), np.array([2, 1, 2])
    sent = {"input": np.ascontiguousarray(points[:, :2]), "lengths": lengths}
    first = request(MODEL, sent, ["logits"])
    first.parameters["session"].string_param = "sealed"
    token = stub.ModelInfer(first).parameters["session"].string_param
    rest = arrays(stub.ModelInfer(step(points[:, 2:], token)))
    for row, length in enumerate(lengths):
        own = np.concatenate([points[row, :length], points[row, 2:]])[None]
        whole = arrays(stub.ModelInfer(request(MODEL, {"input": own}, ["logits"])))
        assert rest["logits"][row].tobytes() == whole["logits"][0].tobytes()


def test_steps_of_a_session_are_not_taken_for_each_other(stub):
    """The lane knows requests again by their first bytes: those of a session must not be."""
    points = walks(1, 1)
    plain = stub.ModelInfer(request(MODEL, {"input": points}, ["logits"]))
    answers = [stub.ModelInfer(step(points, outputs=["logits"])) for _ in range(3)]
    assert {answer.raw_output_contents[0] for answer in answers} == {plain.raw_output_contents[0]}
    tokens = [answer.parameters["session"].string_param for answer in answers]
    assert len(set(tokens)) == 3  # nonces differ
    again = [stub.ModelInfer(step(points, tokens[0], outputs=["logits"])) for _ in range(3)]
    assert len({answer.raw_output_contents[0] for answer in again}) == 1
    assert again[0].raw_output_contents[0] != plain.raw_output_contents[0]


def test_server_metadata_name_the_extension(stub, service):
    assert "sealed_sessions" in stub.ServerMetadata(pb.ServerMetadataRequest()).extensions
    assert "sealed_sessions" not in service.server_metadata(pb.ServerMetadataRequest()).extensions


def test_model_metadata_say_what_can_be_continued(stub):
    said = {
        name: stub.ModelMetadata(pb.ModelMetadataRequest(name=name)).properties["continuable"] == "true"
        for name in ("direction_simple", "direction_stacked", "direction_bidirectional")
    }
    assert said == {"direction_simple": True, "direction_stacked": True, "direction_bidirectional": False}


def test_a_bidirectional_model_is_refused(stub):
    status, said = refusal(stub, step(walks(), model="direction_bidirectional"))
    assert status == "INVALID_ARGUMENT"
    assert said.startswith('model "direction_bidirectional" has no sessions: its sequences may not be sent a part at')
    reason = stub.ModelMetadata(pb.ModelMetadataRequest(name="direction_bidirectional")).properties["sequences"]
    assert "bidirectional layer" in reason
    assert said.endswith(f"since {reason}")


def test_altered_and_foreign_tokens_are_refused(stub):
    token = stub.ModelInfer(step(walks())).parameters["session"].string_param
    whole = bytearray(base64.urlsafe_b64decode(token))
    for at in (0, 12, 20, len(whole) // 2, len(whole) - 1):
        altered = bytearray(whole)
        altered[at] ^= 1
        message = step(walks(), base64.urlsafe_b64encode(altered).decode())
        assert refusal(stub, message) == (
            "INVALID_ARGUMENT",
            "the session's token was altered, or sealed with a key that this server does not have (--session-key): "
            "send the last response's token as it came, to a server with the same key",
        )
    foreign = TokenSealing([secrets.token_bytes(32)], 1000).seal(bytes(100))
    for other in (foreign, token[:40], token[:8]):
        assert refusal(stub, step(walks(), other))[1].startswith("the session's token was altered")


@pytest.mark.parametrize("token", ["Sealed!", "seal", "a" * 5, "ä" * 8, "=" * 8, " sealed"])
def test_what_is_no_token_is_refused(stub, token):
    status, said = refusal(stub, step(walks(), token))
    assert status == "INVALID_ARGUMENT"
    assert said.startswith(
        "the session's token was altered" if token == "seal" else f'parameter session is "{token}": '
    )


def test_a_parameter_that_is_no_text_is_refused(stub):
    message = request(MODEL, {"input": walks()})
    message.parameters["session"].int64_param = 7
    assert refusal(stub, message)[1] == (
        'parameter session is no text: send "sealed", or the token of the last response'
    )


def test_large_tokens_and_states_are_refused(stub):
    assert refusal(stub, step(walks(), "A" * 1_600_000)) == (
        "INVALID_ARGUMENT",
        "the session's token has 1,600,000 characters; none has more than 1,485,592",
    )
    status, said = refusal(stub, step(walks(8193, 1)))
    assert (status, said.split(",")[0]) == ("INVALID_ARGUMENT", "the states of 8")
    assert "of 8,193 rows have 1,048,704 bytes, more than the 1,048,576" in said
    largest = stub.ModelInfer(step(walks(8192, 1), outputs=["logits"])).parameters["session"].string_param
    assert stub.ModelInfer(step(walks(8192, 1), largest)).parameters["session_steps"].int64_param == 2


def test_tokens_are_for_their_model_and_their_rows(stub):
    token = stub.ModelInfer(step(walks())).parameters["session"].string_param
    assert refusal(stub, step(walks(), token, model="direction_simple")) == (
        "INVALID_ARGUMENT",
        'the session\'s token is of model "direction_stacked"; the request asks "direction_simple"',
    )
    assert refusal(stub, step(walks(2), token)) == (
        "INVALID_ARGUMENT",
        "the session has 3 rows, the request 2 rows: send the same rows, in their order",
    )
    both = request(MODEL, {"input": walks(), "h_0": np.zeros((2, 3, 16), np.float32)})
    both.parameters["session"].string_param = token
    assert refusal(stub, both) == ("INVALID_ARGUMENT", 'input "h_0" comes in the session\'s token: leave it out')
    assert stub.ModelInfer(step(walks(), token, version="1")).model_version == "1"
    assert refusal(stub, step(walks(), token, version="2"))[0] == "NOT_FOUND"


def test_without_a_key_sessions_are_unimplemented(service):
    with pytest.raises(Unsupported, match="this server has no key for sealed sessions"):
        service.accept(step(walks()).SerializeToString())


class Alone:
    """A service with keys whose requests are run one by one."""

    def __init__(self, repository, key, **settings):
        self.service = Service(repository, Settings(session_key=key, **settings))

    def ask(self, message):
        served, checked = self.service.accept(message.SerializeToString())
        (outputs,) = CheckedBatch(served.model, [], [checked]).run()
        return pb.ModelInferResponse.FromString(encode_response(served.model, checked, outputs))

    def token(self, message):
        return self.ask(message).parameters["session"].string_param


def keys_file(path, *keys, mode=0o600):
    path.write_bytes(b"".join(keys))
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def loaded(repository):
    return load_repository(repository)


def test_keys_are_rotated(loaded, tmp_path):
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    before = Alone(loaded, keys_file(tmp_path / "old", old))
    both = Alone(loaded, keys_file(tmp_path / "both", new, old))
    after = Alone(loaded, keys_file(tmp_path / "new", new))
    points = walks()
    token = before.token(step(points[:, :1]))
    token = both.token(step(points[:, 1:2], token))
    with pytest.raises(InvalidRequest, match="altered, or sealed with a key"):
        before.ask(step(points[:, 2:], token))
    answer = arrays(after.ask(step(points[:, 2:], token)))
    assert answer["logits"].tobytes() == arrays(both.ask(step(points)))["logits"].tobytes()


def test_old_tokens_are_refused(loaded, session_key, monkeypatch):
    server = Alone(loaded, session_key, session_age=60.0)
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    token = server.token(step(walks()))
    now += 60
    token = server.token(step(walks(), token))
    now += 61
    with pytest.raises(SessionEnded, match=r"token is 61 s old; 60 s is the limit .--session-age.: begin"):
        server.ask(step(walks(), token))
    assert SessionEnded.status == "FAILED_PRECONDITION"


def test_tokens_from_the_future_are_refused_beyond_the_skew_of_clocks(loaded, session_key, monkeypatch):
    """Where a server's clock was ahead, or was set back since: they would outlive their age."""
    server = Alone(loaded, session_key, session_age=60.0)
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    token = server.token(step(walks()))
    now -= 300
    assert server.token(step(walks(), token))
    now -= 1
    with pytest.raises(SessionEnded, match=r"sealed 301 s in the future of this server's clock; 300 s is the limit"):
        server.ask(step(walks(), token))
    now -= 1e9
    with pytest.raises(SessionEnded, match="in the future of this server's clock"):
        server.ask(step(walks(), token))


def test_a_time_that_is_no_number_is_refused(loaded, session_key, monkeypatch):
    server = Alone(loaded, session_key)
    with monkeypatch.context() as broken:
        broken.setattr(time, "time", lambda: float("nan"))
        token = server.token(step(walks()))
    with pytest.raises(SessionEnded):
        server.ask(step(walks(), token))


def test_a_token_goes_to_its_version(repository, session_key):
    """Also where a newer one serves; where its own no longer does, the session has ended."""
    models = load_repository(repository)
    server = Alone(models, session_key)
    points = walks()
    token = server.token(step(points[:, :3]))
    old = models.find(MODEL)
    manifest = type(old.model.manifest)()
    manifest.CopyFrom(old.model.manifest)
    manifest.self_sha256 = "1" * 64
    models.serve(ServedVersion(dataclasses.replace(old.model, version="2", manifest=manifest), old.config))
    assert server.ask(step(points)).model_version == "2"
    assert server.ask(step(points[:, 3:], token)).model_version == "1"
    with pytest.raises(InvalidRequest, match='began on version 1; the request asks for version "2": leave it out'):
        server.ask(step(points[:, 3:], token, version="2"))
    models.refuse(MODEL, 1, "gone")
    with pytest.raises(SessionEnded, match="does not serve here: begin a new session"):
        server.ask(step(points[:, 3:], token))
    models.refuse(MODEL, 2, "gone")
    with pytest.raises(NotReady):
        server.ask(step(points))


def test_states_that_are_not_finite_are_not_taken_back(loaded, session_key):
    strict = Alone(loaded, session_key)
    lenient = Alone(loaded, session_key, allow_non_finite=True)
    broken = lenient.token(step(np.full((1, 1, 2), np.nan, np.float32)))
    assert lenient.token(step(walks(1), broken))
    with pytest.raises(InvalidRequest, match='input "h_0" is nan at'):
        strict.ask(step(walks(1), broken))


@pytest.fixture(scope="module")
def any_models(zoo):
    return load_repository(zoo)


def test_models_without_states_are_refused(any_models, session_key):
    server = Alone(any_models, session_key)
    message = request("neighbours", {"input": np.ones((1, 3), np.int8)})
    message.parameters["session"].string_param = "sealed"
    with pytest.raises(InvalidRequest, match='model "neighbours" has no states, so that it has no sessions'):
        server.ask(message)


def test_a_state_of_another_form_and_a_step_without_a_sequence_axis(any_models, session_key):
    """(features, batch) FP16, the only output: it is asked for, and in the token."""
    server = Alone(any_models, session_key)
    token, total = "sealed", np.zeros((2, 3), np.float16)
    for number in range(1, 4):
        point = np.full((3, 2), number, np.float16)
        message = request("step", {"point": point, "keep": np.ones(3, bool)})
        message.parameters["session"].string_param = token
        response = server.ask(message)
        token, total = response.parameters["session"].string_param, total + point.T
        assert arrays(response)["sum_n"].tolist() == total.tolist()
        assert response.parameters["session_steps"].int64_param == number


def test_a_key_that_cannot_be_read_is_refused_at_the_start(tmp_path):
    with pytest.raises(StartError, match=r"cannot be read .No such file"):
        Service(None, Settings(session_key=tmp_path / "none"))
