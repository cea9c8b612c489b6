"""Modules and states in objects of ordinary classes: they run, are left as they were, and are told by their paths."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kit.served_modules import Served, nasty, publication_of
from rnnserve.client import Client
from rnnserve.export import Floats, UnsupportedModule, export_onnx, publish
from rnnserve.export.held_modules import held_modules, held_objects
from rnnserve.export.parity import OnnxRunner
from rnnserve.server.testing import serve

ROWS = ({0: "batch", 1: "sequence"},)


class Decoder:
    """No module: it holds a cell, a tensor, and what `more` puts there."""

    def __init__(self, way, **more):
        self.way = way
        self.cell, self.scale = nn.GRUCell(3, 4), torch.randn(4)
        self.drop = nn.Dropout(0.5).eval()
        vars(self).update(more)

    def loop(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            outputs.append(h * self.scale)
        return torch.stack(outputs, 1)


class Holding(nn.Module):
    """Holds a decoder as it is, or in a list or a dict."""

    def __init__(self, decoder, within="attribute"):
        super().__init__()
        self.held = {"attribute": decoder, "list": [decoder], "dict": {"first": decoder}}[within]

    def forward(self, x):
        held = self.held
        decoder = held[0] if isinstance(held, list) else held["first"] if isinstance(held, dict) else held
        return decoder.way(decoder, x)


def plain(self, x):
    return self.drop(self.loop(x))


def kept(self, x):
    if self.h is None or self.h.shape[0] != x.size(0):
        self.h = x.new_zeros(x.size(0), 4)
    self.h = self.cell(x[:, 0], self.h)
    return self.h * 1


def added(self, x):
    self.h = self.h + 1
    return self.loop(x) + self.h


def listed(self, x):
    self.history.append(self.loop(x))
    return self.history[-1] + self.history[-2].mean()


def counted(self, x):
    self.calls += 1
    return self.loop(x) + self.calls


def counted_only(self, x):
    self.calls += 1
    return self.loop(x)


PATHS = {"attribute": "held", "list": "held.0", "dict": "held.first"}


@pytest.mark.parametrize("within", PATHS)
def test_paths_of_what_is_held(within):
    module = Holding(Decoder(plain), within)
    assert f"{PATHS[within]}.cell" in held_modules(module)
    assert isinstance(held_objects(module)[PATHS[within]], Decoder)


@pytest.mark.parametrize("way", [plain, counted_only])
def test_a_module_that_runs_one_is_exported(way):
    module = Holding(Decoder(way, calls=0))
    run = OnnxRunner(exported_only(module).model_proto.SerializeToString())
    for sizes in ((1, 1), (2, 7), (5, 30)):
        x = torch.randn(*sizes, 3)
        with torch.no_grad():
            np.testing.assert_allclose(run({"x": x.numpy()})["y"], module(x).numpy(), atol=3e-6)


REFUSED: dict[str, Any] = {
    "kept, made anew for other rows": (kept, {"h": None}, r"keeps \['{path}\.h'\] .*state_attributes=\['{path}\.h'\]"),
    "added to": (added, {"h": torch.zeros(4)}, r"keeps \['{path}\.h'\] from one call to the next"),
    "a list that grows": (listed, {"history": [torch.zeros(1)]}, r"\['{path}\.history'\]"),
    "a number": (counted, {"calls": 0}, r"changes \['{path}\.calls'\] with each call"),
}


@pytest.mark.parametrize("within", PATHS)
@pytest.mark.parametrize("case", REFUSED)
def test_states_in_one_are_refused_by_their_paths_and_left(case, within):
    way, more, said = REFUSED[case]
    decoder = Decoder(way, **copy.deepcopy(more))
    with pytest.raises(UnsupportedModule, match=said.replace("{path}", PATHS[within])) as raised:
        exported_only(Holding(decoder, within))
    assert "\n" not in str(raised.value)
    for name, value in more.items():
        assert repr(getattr(decoder, name)) == repr(value)


def exported_only(module):
    return export_onnx(
        module.eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=ROWS
    )


def test_dropout_that_eval_does_not_reach_is_named():
    decoder = Decoder(plain)
    decoder.drop.train()
    with pytest.raises(UnsupportedModule, match=r"on `held\.cell`, `held\.drop`, which \.eval\(\) of the module does"):
        exported_only(Holding(decoder))


def test_a_module_with_one_is_served_with_its_own_values(tmp_path):
    torch.manual_seed(1)
    served = Served(publication_of(Holding(Decoder(plain)), "held"), tmp_path)
    rng = np.random.default_rng(2)
    served.check([*nasty(rng, (1, 13, 3)).values(), *nasty(rng, (1, 1, 3)).values()], in_parts=["y"])


def test_a_state_in_one_may_be_named(tmp_path):
    torch.manual_seed(1)
    module = Holding(Decoder(kept, h=None)).eval()
    publish(
        module,
        "stepped",
        repository=tmp_path,
        inputs={"x": Floats("batch", 1, 3)},
        outputs=["y"],
        state_attributes=["held.h"],
        progress=False,
    )
    assert module.held.h is None
    with serve(tmp_path) as server, Client(server.address) as client, client.session("stepped") as session:
        for x in torch.randn(4, 1, 3):
            with torch.no_grad():
                expected = module(x[None])
            np.testing.assert_allclose(session.step({"x": x.numpy()})["y"], expected[0].numpy(), atol=1e-6)
