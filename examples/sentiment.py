"""Classify the sentiment of texts (token ids) with a stacked, bidirectional GRU over packed sequences.

Run it with `python examples/sentiment.py`, or publish it with `rnnserve export examples/sentiment.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.client import Client
from rnnserve.export import Floats, Integers, Lengths, Publication, publish
from rnnserve.server.testing import serve

VOCABULARY, GOOD, BAD = 1000, 7, 8  # a text with more GOOD than BAD tokens is positive


class Sentiment(nn.Module):
    """A GRU with two layers in both directions. The last layer's final states determine the class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.gru = nn.GRU(16, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.classify = nn.Linear(2 * 32, 2)

    def forward(self, tokens: Tensor, lengths: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (batch, classes) and h_n (layers * directions, batch, hidden), both float32."""
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.gru(packed, h_0)
        return self.classify(torch.cat([h_n[-2], h_n[-1]], dim=1)), h_n


def train(module: Sentiment, steps: int = 40) -> None:
    """Train on random texts, in batches of 32 texts padded to 12 tokens."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        tokens, lengths = torch.randint(0, 10, (32, 12)), torch.randint(3, 13, (32,))
        inside = torch.arange(12) < lengths[:, None]  # (batch, sequence)
        positive = ((tokens == GOOD) & inside).sum(1) > ((tokens == BAD) & inside).sum(1)
        logits, _ = module(tokens, lengths, torch.zeros(4, 32, 32))
        loss = nn.functional.cross_entropy(logits, positive.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = Sentiment()
    train(module)
    return Publication(
        module.eval(),
        "sentiment",
        inputs={
            "tokens": Integers("batch", "sequence", high=VOCABULARY),  # the server rejects other token ids
            "lengths": Lengths(),
            "h_0": Floats(("layers * directions", 4), "batch", ("hidden", 32)),
        },
        outputs=["logits", "h_n"],
        states={"h_n": "h_0"},  # makes h_0 optional in requests
        labels=["negative", "positive"],
    )


if __name__ == "__main__":
    it, texts = publication(), [[GOOD, 1, GOOD], [3, BAD, 4, 5, BAD, 6], [GOOD]]
    with tempfile.TemporaryDirectory() as repository:
        publish(it, repository=repository)
        with serve(repository) as server, Client(server.address) as client:
            for text, result in zip(texts, client.classify("sentiment", texts), strict=True):
                logits, _ = it.module(torch.tensor([text]), torch.tensor([len(text)]), torch.zeros(4, 1, 32))
                np.testing.assert_allclose(result.logits, logits[0].detach(), rtol=1e-4, atol=1e-5)
                print(text, result.label, result.probabilities)
