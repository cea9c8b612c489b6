"""NaN and infinity in answers: refused for their own request, or returned if the operator allows it."""

import grpc
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.inference_requests import arrays, request
from kit.served import served
from rnnserve.export import Floats, Lengths, publish


class Spectrogram(nn.Module):
    """The logarithm of what is positive, a GRU, and a head."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, mel, lengths, h_0):
        packed = pack_padded_sequence(mel.log(), lengths, batch_first=True, enforce_sorted=False)
        output, h_n = self.gru(packed, h_0)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=mel.size(1))
        return self.head(output), h_n


class Plain(nn.Module):
    """A GRU that reads its input as it comes."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 5, batch_first=True)

    def forward(self, mel):
        return self.gru(mel)[0]


MEL = Floats("batch", "sequence", ("mel", 3), low=0.5, high=10.0)


@pytest.fixture(scope="module")
def modules():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {"spectrogram": Spectrogram().eval(), "plain": Plain().eval()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory, modules):
    root = tmp_path_factory.mktemp("not_finite")
    inputs = {"mel": MEL, "lengths": Lengths(), "h_0": Floats(("layers", 1), "batch", ("hidden", 5))}
    publish(modules["spectrogram"], "spectrogram", repository=root, inputs=inputs, outputs=["y", "h_n"],
            states={"h_n": "h_0"}, progress=False)  # fmt: skip
    for name, allowed in (("plain", False), ("open", True)):
        publish(modules["plain"], name, repository=root, inputs={"mel": MEL}, outputs=["y"],
                allow_non_finite=allowed, progress=False)  # fmt: skip
    return root


@pytest.fixture(scope="module")
def stub(repository):
    with served(repository) as server:
        yield server.stub


@pytest.fixture(scope="module")
def lenient(repository):
    with served(repository, allow_non_finite=True) as server:
        yield server.stub


def mel_of(steps=6, rows=1, zero_at=None, seed=0):
    mel = np.random.default_rng(seed).uniform(0.5, 10, (rows, steps, 3)).astype(np.float32)
    if zero_at is not None:
        mel[0, zero_at, 1] = -1
    return mel


def eager_of(module, mel):
    with torch.no_grad():
        y, h_n = module(torch.from_numpy(mel), torch.full((len(mel),), mel.shape[1]), torch.zeros(1, len(mel), 5))
    return y.numpy(), h_n.numpy()


@pytest.mark.parametrize("outputs", [(), ("h_n",)], ids=["all", "the state alone"])
def test_non_finite_answer_is_refused_and_its_neighbors_are_answered(stub, modules, outputs):
    for _ in range(3):  # the first requests of a kind go another way than the later ones
        sent = [mel_of(seed=seed, zero_at=2 if seed == 5 else None) for seed in range(12)]
        calls = [stub.ModelInfer.future(request("spectrogram", {"mel": mel}, outputs)) for mel in sent]
        for number, (mel, call) in enumerate(zip(sent, calls, strict=True)):
            if number == 5:
                assert call.code() == grpc.StatusCode.INVALID_ARGUMENT
                where = '"h_n" is nan at [0, 0, 0]' if outputs else '"y" is nan at [0, 2, 0] (batch 0, sequence 2'
                assert f"output {where}" in call.details()
                assert "--allow-non-finite" in call.details()
            else:
                np.testing.assert_allclose(
                    arrays(call.result())["h_n"], eager_of(modules["spectrogram"], mel)[1], atol=1e-5
                )


def test_values_after_a_rows_length_change_nothing(stub, modules):
    mel = mel_of(steps=6)
    for value in (0.0, -1.0, 5.0):
        mel[0, 4:] = value
        answer = arrays(stub.ModelInfer(request("spectrogram", {"mel": mel, "lengths": np.array([4])})))
        y, h_n = eager_of(modules["spectrogram"], mel[:, :4])
        np.testing.assert_allclose(answer["y"][:, :4], y, atol=1e-5)
        np.testing.assert_allclose(answer["h_n"], h_n, atol=1e-5)


def test_allowed_answer_is_non_finite_exactly_where_eager_is(lenient, modules):
    for _ in range(3):
        for zero_at in (0, 2, 5):
            mel = mel_of(rows=2, zero_at=zero_at)
            answer = arrays(lenient.ModelInfer(request("spectrogram", {"mel": mel})))
            for found, expected in zip(answer.values(), eager_of(modules["spectrogram"], mel), strict=True):
                np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
                np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nan_that_a_kernel_would_lose_is_refused_even_if_allowed(lenient, modules):
    mel = mel_of(zero_at=2)
    mel[0, 2, 1] = np.nan
    for _ in range(2):
        with pytest.raises(
            grpc.RpcError, match=r"would replace others by finite numbers.*; publish .*allow_non_finite=True"
        ):
            lenient.ModelInfer(request("plain", {"mel": mel}))
        lenient.ModelInfer(request("plain", {"mel": mel_of()}))
    for _ in range(3):
        found = arrays(lenient.ModelInfer(request("open", {"mel": mel})))["y"]
        with torch.no_grad():
            expected = modules["plain"](torch.from_numpy(mel)).numpy()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert np.isnan(found[0, 2:]).all()
