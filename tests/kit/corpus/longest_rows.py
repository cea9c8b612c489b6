"""Modules that ask for the length of the longest row, as most code for padded sequences does: `publish` takes them."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.corpus.rows import LENGTHS, Family, Members, X

LONGEST_ROWS = Family("longest rows", Members, (X, LENGTHS), runs=((1, 3), (1, 1), (3, 5), (2, 4), (4, 70)))
right, core, refused = LONGEST_ROWS.right, LONGEST_ROWS.core, LONGEST_ROWS.refused


@core
def mask_of_a_number(self, x, lengths):
    steps = int(lengths.max())
    mask = torch.arange(steps).unsqueeze(0) < lengths.unsqueeze(1)
    return self.gru(x[:, :steps])[0] * mask.unsqueeze(-1)


@right
def a_tensor_as_a_size(self, x, lengths):
    mask = torch.arange(lengths.max(), device=x.device).expand(len(lengths), lengths.max()) < lengths.unsqueeze(1)
    return (self.gru(x)[0] * mask[:, :, None]).sum(1)


@right
def of_an_axis(self, x, lengths):
    steps = torch.max(lengths.long().cpu(), 0)[0]
    return self.gru(x[:, :steps])[0].cumsum(1)


@core
def loop(self, x, lengths):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(int(lengths.max())):
        new = self.cell(x[:, t], h)
        h = torch.where((t < lengths).unsqueeze(1), new, h)
        outputs.append(h)
    return torch.stack(outputs, 1)


@core
def sorted_rows(self, x, lengths):
    lengths, order = lengths.sort(descending=True)
    steps = int(lengths[0])
    packed = pack_padded_sequence(x[order, :steps], lengths, batch_first=True)
    padded, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
    mask = torch.arange(steps) < lengths[:, None]
    return (padded * mask.unsqueeze(-1))[torch.argsort(order)]


@core
def listed(self, x, lengths):
    packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
    return self.gru(packed)[1][0]


@right
def half_as_many(self, x, lengths):
    halves = (lengths + 1) // 2
    steps = int(halves.max())
    x = x[:, ::2]
    mask = torch.arange(steps) < halves.unsqueeze(1)
    return (self.gru(x)[0] * mask.unsqueeze(-1)).sum(1)


@right
def fewer_than_the_input(self, x, lengths):
    if lengths.max() < x.size(1):
        x = x[:, : lengths.max()]
    return self.gru(x)[0]


@refused(r"reads the lengths of rows as single numbers.*torch\.arange", is_core=True)
def rows_by_their_numbers(self, x, lengths):
    return torch.stack([self.gru(x[row : row + 1, :n])[1][0, 0] for row, n in enumerate(lengths.tolist())])
