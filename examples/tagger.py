"""Tag every word of a sentence with a bidirectional LSTM that returns logits for each step.

Run it with `python examples/tagger.py`, or publish it with `rnnserve export examples/tagger.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.client import Client
from rnnserve.export import Integers, Lengths, Publication, publish
from rnnserve.server.testing import serve

WORDS, TAGS = 20, ["new", "repeated", "last"]


class Tagger(nn.Module):
    """A bidirectional LSTM over packed sentences, and a linear layer applied to each step."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 16)
        self.lstm = nn.LSTM(16, 32, bidirectional=True, batch_first=True)
        self.tag = nn.Linear(2 * 32, len(TAGS))

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (batch, sequence, tags) float32."""
        packed = pack_padded_sequence(self.embedding(words), lengths, batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.size(1))
        return self.tag(output)


def train(module: Tagger, steps: int = 30) -> None:
    """Train on sentences of 8 random words. A word that equals the previous word is tagged as repeated."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        words = torch.randint(0, 4, (32, 8))
        tags = torch.zeros_like(words)
        tags[:, 1:] = (words[:, 1:] == words[:, :-1]).long()
        tags[:, -1] = 2
        logits = module(words, torch.full((32,), 8))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tags.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = Tagger()
    train(module)
    inputs = {"words": Integers("batch", "sequence", high=WORDS), "lengths": Lengths()}
    return Publication(module.eval(), "tagger", inputs=inputs, outputs=["logits"], labels=TAGS)


if __name__ == "__main__":
    it, sentences = publication(), [[1, 1, 2, 3, 3], [0, 2], [3]]
    with tempfile.TemporaryDirectory() as repository:
        publish(it, repository=repository)
        with serve(repository) as server, Client(server.address) as client:
            for words, answer in zip(sentences, client.predict("tagger", sentences), strict=True):
                eager = it.module(torch.tensor([words]), torch.tensor([len(words)]))
                np.testing.assert_allclose(answer["logits"], eager[0].detach(), rtol=1e-4, atol=1e-5)
                print([f"{word}: {TAGS[tag]}" for word, tag in zip(words, answer["logits"].argmax(-1), strict=True)])
