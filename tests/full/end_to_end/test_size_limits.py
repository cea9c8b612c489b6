"""The sizes that a module takes: told at publishing, proven within, kept to by the server and its clients."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.cli import main
from rnnserve.client import Client, InvalidRequest
from rnnserve.export import Floats, Lengths, Publication, WrongArguments, publish
from rnnserve.protos import manifest_pb2
from rnnserve.server.testing import serve

SMALLEST, LARGEST = 5, 24


class Windows(nn.Module):
    """A convolution over windows of five steps, so that a row has five steps at least; then a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(2, 4, SMALLEST)
        self.gru = nn.GRU(4, 6, batch_first=True)

    def forward(self, x, lengths):
        windows = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        packed = pack_padded_sequence(windows, lengths - (SMALLEST - 1), batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1][0]


INPUTS = {"x": Floats("batch", "sequence", 2), "lengths": Lengths()}


def publication(**changes):
    torch.manual_seed(0)
    made = Publication(Windows().eval(), "windows", INPUTS, ["y"], sizes={"sequence": (SMALLEST, LARGEST)})
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    assert publish(publication(), repository=folder).manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    return folder


@pytest.fixture(scope="module")
def client(repository):
    with serve(repository) as server, Client(server.address) as client:
        yield client


def test_rows_of_all_sizes_share_a_request(client):
    rows = [np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32) for n in (LARGEST, SMALLEST, 9)]
    module = publication().module
    for row, answer in zip(rows, client.predict("windows", rows), strict=True):
        eager = module(torch.from_numpy(row)[None], torch.tensor([len(row)]))
        np.testing.assert_allclose(answer["y"], eager[0].detach(), rtol=1e-5, atol=1e-6)


def test_sizes_and_lengths_outside_the_limits_are_refused(client):
    for steps in (SMALLEST - 1, LARGEST + 1):
        message = (
            rf"axis 1 \(sequence\) is {steps}, but the model takes 5 to 24; x is \(batch, sequence=5..24, axis 2=2\)"
        )
        with pytest.raises(InvalidRequest, match=message):
            client.predict("windows", np.zeros((1, steps, 2), np.float32))
    inputs = {"x": np.zeros((2, 9, 2), np.float32), "lengths": np.array([SMALLEST - 1, 9])}
    for _ in range(2):  # parsed, and recognized by its prefix
        with pytest.raises(InvalidRequest, match=r'"lengths" is 4 for row 0 .*: expected a length from 5 to axis 1'):
            client.infer("windows", inputs)
        client.infer("windows", inputs | {"lengths": np.array([SMALLEST, 9])})


def test_load_inspect_and_verify_respect_the_size_limits(client, repository, capsys):
    assert client.metadata("windows").inputs["x"].limits == {"sequence": (SMALLEST, LARGEST)}
    arguments = ["load", "windows", "--serve", str(repository), "--rate", "100", "--duration", "0.3", "--warmup", "0"]
    assert main([*arguments, "--length", "1:64"]) == 0, capsys.readouterr()
    assert main(["inspect", str(repository), "windows"]) == 0
    assert "(batch, sequence: 5 to 24, axis 2: 2)" in capsys.readouterr().out
    assert main(["verify", str(repository)]) == 0


def test_sample_outside_the_size_limits_is_refused(tmp_path):
    sample = {"x": np.zeros((1, SMALLEST - 1, 2), np.float32)}
    with pytest.raises(WrongArguments, match=r'samples\[0\] has 4 as the size of "sequence"; sizes allows 5 to 24'):
        publish(publication(samples=[sample]), repository=tmp_path / "repository", progress=False)
    short = {"x": np.zeros((1, 9, 2), np.float32), "lengths": np.array([4])}
    with pytest.raises(WrongArguments, match=r'samples\[0\]\["lengths"\] has a length outside 5..9'):
        publish(publication(samples=[short]), repository=tmp_path / "repository", progress=False)
