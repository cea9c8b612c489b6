"""Sequence to sequence, with two sequence axes. The encoder's source and the decoder's target differ in length.

Run it with `python examples/seq2seq.py`, or publish it with `rnnserve export examples/seq2seq.py:publication`.
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnserve.client import Client
from rnnserve.export import Integers, Lengths, Publication, publish
from rnnserve.server.testing import serve

TOKENS, START = 12, 0  # targets begin with START, so the decoder predicts each token from earlier tokens


class Seq2Seq(nn.Module):
    """A GRU over the packed source. Its final state is the initial state of a second GRU, over the target."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 16)
        self.encoder = nn.GRU(16, 32, batch_first=True)
        self.decoder = nn.GRU(16, 32, batch_first=True)
        self.predict = nn.Linear(32, TOKENS)

    def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> Tensor:
        """Return logits of the next token after each target token, (batch, target, tokens) float32."""
        packed = pack_padded_sequence(self.embedding(source), source_lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.encoder(packed)
        output, _ = self.decoder(self.embedding(target), h_n)
        return self.predict(output)


def train(module: Seq2Seq, steps: int = 40) -> None:
    """Train to write the source in reverse order."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        source = torch.randint(1, TOKENS, (32, 4))
        reverse = source.flip(1)
        target = nn.functional.pad(reverse[:, :-1], (1, 0), value=START)
        logits = module(source, torch.full((32,), 4), target)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), reverse.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def publication() -> Publication:
    """Train the module, and describe its tensors."""
    torch.manual_seed(0)
    module = Seq2Seq()
    train(module)
    inputs = {
        "source": Integers("batch", "source", high=TOKENS),
        "source_lengths": Lengths("source"),
        "target": Integers("batch", "target", high=TOKENS),
    }
    return Publication(module.eval(), "seq2seq", inputs=inputs, outputs=["logits"])


if __name__ == "__main__":
    it, sources, targets = publication(), [[1, 2, 3, 4], [5, 6]], [[START], [START, 6, 5]]
    with tempfile.TemporaryDirectory() as repository:
        publish(it, repository=repository)
        with serve(repository) as server, Client(server.address) as client:
            answers = client.predict("seq2seq", {"source": sources, "target": targets})
        for source, target, answer in zip(sources, targets, answers, strict=True):
            eager = it.module(torch.tensor([source]), torch.tensor([len(source)]), torch.tensor([target]))
            np.testing.assert_allclose(answer["logits"], eager[0].detach(), rtol=1e-4, atol=1e-5)
            print(source, target, "next:", answer["logits"][-1].argmax())
