"""Packed values in a branch of `torch.cond`, whose tracing does not go together with measuring what tests execute."""

import torch

from kit.packing_modules import Refusals, of, pad

refused = Refusals()


@refused(r"cond.* mixes")
def of_a_branch(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.cond(x.sum() > 0, lambda data: data * 2, lambda data: data * 3, (packed.data,))))


def test_values_of_packed_sequences_in_a_branch_are_refused():
    refused.check("of_a_branch")
