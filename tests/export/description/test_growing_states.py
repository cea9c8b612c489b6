"""A state that grows with each request, such as a cache of all steps, is refused with a remedy."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, WrongArguments
from rnnserve.export.adoption.adoption import describe_states
from rnnserve.export.adoption.file_inputs import Roles


class Cached(nn.Module):
    """Attention of one step, or several, over all before it."""

    def forward(self, x, cache):
        cache = torch.cat([cache, x], dim=1)
        return torch.softmax(x @ cache.transpose(1, 2), -1) @ cache, cache


@pytest.mark.parametrize(
    ("error", "steps", "states", "match"),
    [
        (
            WrongArguments,
            ("now", 1),
            {"cache_n": "cache"},
            r'axis 1 has "past\+1" entries where .* keeps its size',
        ),
        (UnsupportedModule, "sequence", {}, 'as large as "sequence" and "past" together, as a cache is that grows'),
    ],
)
def test_growing_cache_is_refused(not_published, error, steps, states, match):
    inputs = {"x": Floats("batch", steps, 4), "cache": Floats("batch", "past", 4)}
    not_published(error, match, Publication(Cached(), "cached", inputs, ["y", "cache_n"], states))


@pytest.mark.parametrize(("after", "found"), [("past", {"cache_n": "cache_0"}), ("longer", {})])
def test_names_alone_make_no_state(after, found):
    inputs = [Floats("batch", "past", 4).tensor("cache_0")]
    outputs = [Floats("batch", after, 4).tensor("cache_n")]
    assert describe_states(inputs, outputs, Roles()) == found
