"""Sessions whose encrypted state travels with the client, with and without a connection, and their tokens."""

import base64
import dataclasses
import secrets
import sys
import time

import grpc
import numpy as np
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import aead
from hypothesis import given
from hypothesis import strategies as st

from kit.inference_requests import arrays, request
from kit.loaded import load_repository
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server import Settings
from rnnserve.server.batching.execution import CheckedBatch
from rnnserve.server.errors import InvalidRequest, NotReady, SessionEnded, StartError, Unsupported
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.sealed_states import TokenSealing, _Sealed, read_keys
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.repository import READY, UNAVAILABLE, ServedVersion, Status

MODEL, SIMPLE = "direction_stacked", "direction_simple"
KEY, OTHER = bytes(range(128, 160)), bytes(range(160, 192))
SEALING = TokenSealing([KEY], 1000)


def keys_file(path, *keys, mode=0o600):
    path.write_bytes(b"".join(keys))
    path.chmod(mode)
    return path


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


def refused_as_invalid(stub, message):
    status, said = refusal(stub, message)
    assert status == "INVALID_ARGUMENT"
    return said


def token_of(response):
    return response.parameters["session"].string_param


def test_steps_get_the_bits_of_the_whole_sequence(stub):
    points = walks()
    whole = arrays(stub.ModelInfer(request(MODEL, {"input": points}, ["logits", "output"])))
    for cuts in ((1, 1, 1, 1, 1, 1), (2, 4), (5, 1), (6,)):
        token, at, parts = "sealed", 0, []
        for size in cuts:
            response = stub.ModelInfer(step(points[:, at : at + size], token, id="7"))
            at += size
            token = token_of(response)
            assert response.parameters["session_steps"].int64_param == at
            assert (response.id, response.model_name, response.model_version) == ("7", MODEL, "1")
            parts.append(arrays(response))
            assert list(parts[-1]) == ["logits", "output"]  # the final states are in the token only
        assert np.concatenate([part["output"] for part in parts], 1).tobytes() == whole["output"].tobytes()
        assert parts[-1]["logits"].tobytes() == whole["logits"].tobytes()


def test_session_can_begin_with_states_and_request_them(stub):
    points, h_0 = walks(), np.full((2, 3, 16), 0.25, np.float32)
    whole = arrays(stub.ModelInfer(request(MODEL, {"input": points, "h_0": h_0})))
    first = request(MODEL, {"input": np.ascontiguousarray(points[:, :2]), "h_0": h_0})
    first.parameters["session"].string_param = "sealed"
    rest = arrays(stub.ModelInfer(step(points[:, 2:], token_of(stub.ModelInfer(first)), outputs=())))
    assert list(rest) == ["logits", "output", "h_n"]  # if no output is named, all are answered
    assert rest["h_n"].tobytes() == whole["h_n"].tobytes()


def test_rows_of_different_lengths_continue(stub):
    points, lengths = walks(), np.array([2, 1, 2])
    first = request(MODEL, {"input": np.ascontiguousarray(points[:, :2]), "lengths": lengths}, ["logits"])
    first.parameters["session"].string_param = "sealed"
    rest = arrays(stub.ModelInfer(step(points[:, 2:], token_of(stub.ModelInfer(first)))))
    for row, length in enumerate(lengths):
        own = np.concatenate([points[row, :length], points[row, 2:]])[None]
        whole = arrays(stub.ModelInfer(request(MODEL, {"input": own}, ["logits"])))
        assert rest["logits"][row].tobytes() == whole["logits"][0].tobytes()


def test_session_steps_are_never_confused_by_the_fast_path(stub):
    """The fast path knows requests again by their first bytes: those of a session must not be."""
    points = walks(1, 1)
    plain = stub.ModelInfer(request(MODEL, {"input": points}, ["logits"]))
    answers = [stub.ModelInfer(step(points, outputs=["logits"])) for _ in range(3)]
    assert {answer.raw_output_contents[0] for answer in answers} == {plain.raw_output_contents[0]}
    tokens = [token_of(answer) for answer in answers]
    assert len(set(tokens)) == 3  # nonces differ
    again = [stub.ModelInfer(step(points, tokens[0], outputs=["logits"])) for _ in range(3)]
    assert len({answer.raw_output_contents[0] for answer in again}) == 1
    assert again[0].raw_output_contents[0] != plain.raw_output_contents[0]


def test_bidirectional_model_has_no_sessions_and_its_metadata_say_why(stub):
    said = {
        name: stub.ModelMetadata(pb.ModelMetadataRequest(name=name)).properties
        for name in ("direction_simple", "direction_stacked", "direction_bidirectional")
    }
    assert [each["continuable"] == "true" for each in said.values()] == [True, True, False]
    reason = said["direction_bidirectional"]["sequences"]
    assert "bidirectional layer" in reason
    words = refused_as_invalid(stub, step(walks(), model="direction_bidirectional"))
    assert words.startswith('model "direction_bidirectional" has no sessions')
    assert words.endswith(f"in parts: {reason}")


def test_altered_foreign_and_other_tokens_are_refused(stub):
    token = token_of(stub.ModelInfer(step(walks())))
    whole = bytearray(base64.urlsafe_b64decode(token))
    altered = [TokenSealing([secrets.token_bytes(32)], 1000).seal(bytes(100)), token[:40], token[:8], "seal"]
    for at in (0, 12, 20, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        altered.append(base64.urlsafe_b64encode(changed).decode())
    for each in altered:
        assert refused_as_invalid(stub, step(walks(), each)).startswith("the session token was changed")
    for text in ("Sealed!", "a" * 5, "ä" * 8, "=" * 8, " sealed"):
        assert refused_as_invalid(stub, step(walks(), text)).startswith(f'parameter session is "{text}": ')
    message = request(MODEL, {"input": walks()})
    message.parameters["session"].int64_param = 7
    assert refused_as_invalid(stub, message).startswith("parameter session must be text")


def test_large_tokens_and_states_are_refused(stub):
    said = refused_as_invalid(stub, step(walks(), "A" * 1_600_000))
    assert "has 1,600,000 characters, but a token has at most 1,485,592" in said
    said = refused_as_invalid(stub, step(walks(8193, 1)))
    assert "of 8,193 rows take 1,048,704 bytes, but a session token holds at most 1,048,576" in said
    largest = token_of(stub.ModelInfer(step(walks(8192, 1), outputs=["logits"])))
    assert stub.ModelInfer(step(walks(8192, 1), largest)).parameters["session_steps"].int64_param == 2


def test_token_is_for_its_model_version_and_rows(stub):
    token = token_of(stub.ModelInfer(step(walks())))
    assert 'session token belongs to model "direction_stacked"' in refused_as_invalid(
        stub, step(walks(), token, model=SIMPLE)
    )
    assert "the session has 3 rows, but the request has 2 rows" in refused_as_invalid(stub, step(walks(2), token))
    both = request(MODEL, {"input": walks(), "h_0": np.zeros((2, 3, 16), np.float32)})
    both.parameters["session"].string_param = token
    assert refused_as_invalid(stub, both).startswith('input "h_0" is part of the session token')
    assert stub.ModelInfer(step(walks(), token, version="1")).model_version == "1"
    assert refusal(stub, step(walks(), token, version="2"))[0] == "NOT_FOUND"


def test_sessions_are_unimplemented_without_a_key(service, tmp_path):
    with pytest.raises(Unsupported, match="this server has no key for sealed sessions"):
        service.accept(step(walks()).SerializeToString())
    with pytest.raises(StartError, match=r"cannot be read .No such file"):
        Service(None, Settings(session_key=tmp_path / "none"))


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


@pytest.fixture(scope="module")
def loaded(repository):
    return load_repository(repository)


def test_rotated_keys_open_tokens_of_the_previous_key(loaded, tmp_path):
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    before = Alone(loaded, keys_file(tmp_path / "old", old))
    both = Alone(loaded, keys_file(tmp_path / "both", new, old))
    after = Alone(loaded, keys_file(tmp_path / "new", new))
    points = walks()
    token = before.token(step(points[:, :1]))
    token = both.token(step(points[:, 1:2], token))
    with pytest.raises(InvalidRequest, match="changed, or encrypted with a key"):
        before.ask(step(points[:, 2:], token))
    answer = arrays(after.ask(step(points[:, 2:], token)))
    assert answer["logits"].tobytes() == arrays(both.ask(step(points)))["logits"].tobytes()


def test_tokens_are_refused_when_too_old_or_from_the_future(loaded, session_key, monkeypatch):
    """From a server whose clock was ahead, or was set back since: such tokens would outlive their age."""
    server = Alone(loaded, session_key, session_age=60.0)
    now = 1_800_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    token = server.token(step(walks()))
    now += 60
    token = server.token(step(walks(), token))
    now += 61
    with pytest.raises(SessionEnded, match=r"token is 61 s old, but tokens expire after 60 s; begin"):
        server.ask(step(walks(), token))
    now -= 61 + 300
    assert server.token(step(walks(), token))
    for seconds in (1, 1e9):
        now -= seconds
        with pytest.raises(SessionEnded, match="in the future by this server's clock; at most 300 s are allowed"):
            server.ask(step(walks(), token))
    now = float("nan")
    token = server.token(step(walks()))
    now = 1_800_000_000.0
    with pytest.raises(SessionEnded):
        server.ask(step(walks(), token))


def test_token_is_served_by_its_version(repository, session_key):
    """Even if a newer version serves. If the token's version no longer serves, the session has ended."""
    models = load_repository(repository)
    server = Alone(models, session_key)
    points = walks()
    token = server.token(step(points[:, :3]))
    old = models.find(MODEL)
    manifest = type(old.model.manifest)()
    manifest.CopyFrom(old.model.manifest)
    manifest.self_sha256 = "1" * 64
    newer = ServedVersion(dataclasses.replace(old.model, version="2", manifest=manifest), old.config)
    models.put(MODEL, models.entry(MODEL).with_version(2, Status(READY), newer))
    assert server.ask(step(points)).model_version == "2"
    assert server.ask(step(points[:, 3:], token)).model_version == "1"
    with pytest.raises(
        InvalidRequest, match='began on version 1; the request names version "2"; leave the version out'
    ):
        server.ask(step(points[:, 3:], token, version="2"))
    models.put(MODEL, models.entry(MODEL).with_version(1, Status(UNAVAILABLE, "gone")))
    with pytest.raises(SessionEnded, match="does not serve the version of model"):
        server.ask(step(points[:, 3:], token))
    models.put(MODEL, models.entry(MODEL).with_version(2, Status(UNAVAILABLE, "gone")))
    with pytest.raises(NotReady):
        server.ask(step(points))


def test_token_with_non_finite_states_is_refused(loaded, session_key):
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
    with pytest.raises(InvalidRequest, match='model "neighbours" has no states, so it has no sessions'):
        server.ask(message)


@given(st.binary(max_size=1000))
def test_sealed_state_opens_again(data):
    token = SEALING.seal(data)
    assert len(token) <= SEALING._most_characters
    assert SEALING.open(token) == data
    assert TokenSealing([OTHER, KEY], 1000).open(token) == data
    with pytest.raises(InvalidRequest, match="encrypted with a key that this server does not have"):
        TokenSealing([OTHER], 1000).open(token)


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())))
def test_any_other_text_is_refused(text):
    with pytest.raises(InvalidRequest, match="session"):
        SEALING.open(text)


def test_token_of_an_earlier_server_opens():
    """Tokens outlive servers, so neither their encryption nor their layout may change."""
    token = (
        "Kv7vgq9F2Kj86WTdgu-swLgjfwCO9KhdakJ1Mumu6iqfT3o6SyciMvDdRxyd0oxscpbPn8OXbj1yFj87S2Vwgx3kVhn7KkEqUcAIz8A7WIte"
        "94hIwW3lduTsiPHje-o="
    )
    digest = bytes(range(32)).hex()
    assert _Sealed.read(SEALING.open(token)) == ("modèle", digest, 7, 1_800_000_000.5, 3, b"states")


def test_token_sealed_elsewhere_with_the_key_is_refused():
    """A text that was encrypted with the key but without our context doesn't open."""
    nonce = secrets.token_bytes(12)
    foreign = nonce + aead.AESGCMSIV(KEY).encrypt(nonce, b"state", None)
    with pytest.raises(InvalidRequest, match="was changed"):
        SEALING.open(base64.urlsafe_b64encode(foreign).decode())


def test_missing_cipher_or_package_is_a_start_error(monkeypatch):
    def is_old(key):
        raise UnsupportedAlgorithm("AES-GCM-SIV is not supported by this version of OpenSSL")

    monkeypatch.setattr(aead, "AESGCMSIV", is_old)
    with pytest.raises(
        StartError, match=r"needs AES-GCM-SIV from OpenSSL 3\.2 or newer; update the package cryptography"
    ):
        TokenSealing([KEY], 1000)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(StartError, match=r"needs the package cryptography.*pip install '\.\[server\]'"):
        TokenSealing([KEY], 1000)


def test_files_without_usable_keys_are_refused(tmp_path):
    for data, mode, complaint in (
        (b"", 0o600, "has 0 bytes; expected up to 16 keys of 32 random bytes each"),
        (bytes(range(128, 159)), 0o600, "has 31 bytes"),
        (bytes(range(128, 161)), 0o600, "has 33 bytes"),
        (b"\xff" * 32 * 17, 0o600, "has more than 512 bytes"),
        (b"0123456789abcdef" * 4, 0o600, "is text"),
        (b"\xff" * 32, 0o604, "is accessible to every user of this machine; run chmod o-rw "),
        (b"\xff" * 32, 0o602, "is accessible to every user of this machine"),
    ):
        path = keys_file(tmp_path / "key", data, mode=mode)
        with pytest.raises(StartError) as refused:
            read_keys(path)
        assert str(refused.value).startswith(f"--session-key {path}: {complaint}")
        assert "\n" not in str(refused.value)
    with pytest.raises(StartError, match=r"cannot be read .No such file"):
        read_keys(tmp_path / "none")
    with pytest.raises(StartError, match=r"cannot be read .Is a directory"):
        read_keys(tmp_path)
    assert read_keys(keys_file(tmp_path / "key", KEY, OTHER, mode=0o640)) == [KEY, OTHER]
