"""A CRF tagger (package pytorch-crf): emissions from a GRU, and the best path by Viterbi, masked by lengths.

pytorch-crf's own `decode` returns Python lists. Here the path is a tensor, with zeros after each row's length.
"""

import torch
from torch import Tensor, nn

from rnnserve.export import Integers, Lengths, Publication

WRITTEN_LIKE = "pytorch-crf CRF.decode"


class CrfTagger(nn.Module):
    """Emissions for each token, and scores for each pair of tags."""

    def __init__(self, tokens: int = 20, tags: int = 4) -> None:
        super().__init__()
        self.embed, self.gru = nn.Embedding(tokens, 8), nn.GRU(8, 8, batch_first=True)
        self.emit = nn.Linear(8, tags)
        self.start, self.end = nn.Parameter(torch.randn(tags)), nn.Parameter(torch.randn(tags))
        self.between = nn.Parameter(torch.randn(tags, tags))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the best tags (batch, sequence) int64 for tokens (batch, sequence) int64, lengths (batch,) int64."""
        emissions = self.emit(self.gru(self.embed(tokens))[0])
        score, history = self.start + emissions[:, 0], []
        for t in range(1, tokens.size(1)):
            best, before = (score.unsqueeze(2) + self.between).max(dim=1)  # (batch, tags), of the previous step
            inside = (t < lengths).unsqueeze(1)
            score = torch.where(inside, best + emissions[:, t], score)
            history.append(torch.where(inside, before, torch.arange(before.size(1))))
        tag = (score + self.end).argmax(dim=1)
        path = [tag]
        for before in reversed(history):
            tag = before.gather(1, tag.unsqueeze(1)).squeeze(1)
            path.insert(0, tag)
        inside = torch.arange(tokens.size(1)) < lengths.unsqueeze(1)
        return torch.stack(path, dim=1) * inside


def publication() -> Publication:
    """Describe the module."""
    torch.manual_seed(0)
    inputs = {"tokens": Integers("batch", "sequence", high=20), "lengths": Lengths()}
    return Publication(CrfTagger().eval(), "crf_tagger", inputs=inputs, outputs=["tags"])
