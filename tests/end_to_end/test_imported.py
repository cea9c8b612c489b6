"""An ONNX file from torch's own exporter is imported, refused, served on demand, and called."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.cli import main
from rnnserve.client import Client
from rnnserve.protos.artifact import read_version
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve


class Sentiment(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 4)
        self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 2)

    def forward(self, tokens, lengths):
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        output, (h_n, _) = self.lstm(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=tokens.size(1))
        return self.head(torch.cat([h_n[0], h_n[1]], dim=1)), output


def test_imported_file_is_served_on_demand_with_the_expected_results(tmp_path, capsys):
    module = Sentiment().eval()
    file: Any = io.BytesIO()  # torch accepts it, although its annotations don't
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 6, dtype=torch.int64), torch.tensor([6, 4])),
            file,
            dynamo=False,
            input_names=["tokens", "lengths"],
            output_names=["logits", "output"],
            dynamic_axes={"tokens": {0: "batch", 1: "sequence"}, "lengths": {0: "batch"}},
        )
    (tmp_path / "sentiment.onnx").write_bytes(file.getvalue())
    random = np.random.default_rng(0)
    tokens, lengths = random.integers(0, 20, (4, 9)), np.array([9, 3, 7, 1])
    with torch.no_grad():
        logits = module(torch.from_numpy(tokens), torch.from_numpy(lengths))[0].numpy()
    np.savez(tmp_path / "samples.npz", **{"tokens": tokens, "lengths": lengths, "output:logits": logits})
    repository = tmp_path / "repository"
    words = ["import", str(tmp_path / "sentiment.onnx"), "--name", "sentiment", "--repository", str(repository)]
    assert main([*words, "--labels", "bad,good", "--samples", str(tmp_path / "samples.npz")]) == 0
    said = capsys.readouterr().out
    assert "batching padded" in said
    assert "onnx: outputs equal those of 1 samples: logits" in said
    assert "tokens INT64 (batch, sequence)  values 0 to 19" in said
    assert list(read_version(repository / "sentiment" / "1").manifest.labels) == ["bad", "good"]
    with pytest.raises(StartError, match="--allow-unproven"), serve(repository):
        pass
    with serve(repository, Settings(provider="cpu", allow_unproven=True)) as server, Client(server.address) as client:
        rows = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
        answers = client.predict("sentiment", rows)
    np.testing.assert_allclose([answer["logits"] for answer in answers], logits, rtol=0, atol=4e-6)
