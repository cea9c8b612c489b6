"""A state that gets longer with each request, such as a cache of all steps: refused, with what to do instead."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, UnsupportedModule, WrongArguments, publish
from rnnserve.export.adoption.roles import Roles
from rnnserve.export.adoption.state_pairs import describe_states


class Cached(nn.Module):
    """Attention of one step, or several, over all before it."""

    def forward(self, x, cache):
        cache = torch.cat([cache, x], dim=1)
        return torch.softmax(x @ cache.transpose(1, 2), -1) @ cache, cache


def refused(tmp_path, error, steps, **options):
    with pytest.raises(error) as caught:
        publish(
            Cached(),
            "cached",
            repository=tmp_path,
            inputs={"x": Floats("batch", steps, 4), "cache": Floats("batch", "past", 4)},
            outputs=["y", "cache_n"],
            progress=False,
            **options,
        )
    assert not any(tmp_path.iterdir())
    return str(caught.value)


def test_a_declared_one(tmp_path):
    said = refused(tmp_path, WrongArguments, ("now", 1), states={"cache_n": "cache"})
    assert said.startswith(
        'states: "cache_n" continues as "cache", but its axis 1 has "past+1" entries where the input has "past": a '
        "state keeps its size. Give a cache that grows a fixed one"
    )


def test_an_output_as_long_as_two_axes(tmp_path):
    said = refused(tmp_path, UnsupportedModule, "sequence")
    assert 'It is as large as "sequence" and "past" together, as a cache is that grows with each request' in said
    assert "Pad the output" not in said


@pytest.mark.parametrize(("after", "found"), [("past", {"cache_n": "cache_0"}), ("longer", {})])
def test_names_do_not_make_a_state_of_it(after, found):
    inputs = [Floats("batch", "past", 4).tensor("cache_0")]
    outputs = [Floats("batch", after, 4).tensor("cache_n")]
    assert describe_states(inputs, outputs, Roles()) == found
