"""Layers, states and operators that cannot be exported right, each refused with what, where, why and a remedy."""

import warnings

import torch
import torch.nn.functional as F
from torch import nn

from kit.corpus.rows import Family, forward


class Encoder(nn.Module):
    """Holds one recurrent layer, `encoder.rnn`."""

    def __init__(self, make=lambda: nn.LSTM(3, 4, 2, batch_first=True), **members):
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": make()})
        for name, member in members.items():
            setattr(self, name, member)

    @property
    def rnn(self):
        return self.encoder["rnn"]


REFUSED_LAYERS = Family("refused layers", is_located=False)


def refuse(name, way, phrase, make=None, *, members=dict, is_core=False, is_located=False):
    """Add a refusal of a module whose forward calls a function, with this layer and members."""
    kind = type("Encoding", (Encoder,), {"forward": forward, "way": way})
    REFUSED_LAYERS.add(
        name,
        lambda: kind(*([make] if make else []), **members()),
        refused=phrase,
        is_core=is_core,
        is_located=is_located,
    )


def plain(self, x):
    return self.rnn(x)[0]


def zeros(x, *sizes):
    return (x.new_zeros(*sizes),) * 2


GOT = r"`encoder\.rnn` \(LSTM\) got h_0 .*expected \(layers \* directions, batch, "
refuse("unbatched", lambda self, x: self.rnn(x[0])[0], r"`encoder\.rnn` \(LSTM\) got an input of 2 axes.*unsqueeze")
refuse("features", lambda self, x: self.rnn(x[..., :2])[0], r"`encoder\.rnn`.*2 features; expected.*3", is_core=True)
refuse(
    "state of another size",
    lambda self, x: self.rnn(x, zeros(x, 1, x.size(0), 4))[0],
    GOT + r"hidden\) = \(2,",
    is_core=True,
)
refuse(
    "state, batch first",
    lambda self, x: self.rnn(x, zeros(x, x.size(0), 2, 4))[0],
    r"`encoder\.rnn`.*even if the input is batch-first",
)
refuse("one state of an LSTM", lambda self, x: self.rnn(x, x.new_zeros(2, x.size(0), 4))[0], r"pair \(h_0, c_0\)")
refuse(
    "float64",
    lambda self, x: self.rnn(x.double())[0],
    r"`encoder\.rnn` \(GRU\) holds torch\.float64; .*module\.float\(\)",
    lambda: nn.GRU(3, 4).double(),
    is_core=True,
)
refuse("input of another dtype", lambda self, x: self.rnn(x.double())[0], r"torch\.float64; its weights")
refuse(
    "a function of torch",
    lambda self, x: torch.lstm(x, (x, x), self.rnn._flat_weights, True, 2, 0.0, False, False, True)[0],
    r"calls torch\.lstm.*functional_call\(layer",
)
refuse(
    "a parameter of one batch",
    lambda self, x: self.rnn(x)[0] + self.offsets,
    r'"batch" cannot be dynamic.*the sample\'s 3 rows \(at refused_layers\.py:\d+, .*self\.offsets.*\)(?!.*scan)',
    members=lambda: {"offsets": nn.Parameter(torch.zeros(3, 1, 4))},
    is_core=True,
    is_located=True,
)
refuse(
    "a size of one batch",
    lambda self, x: self.rnn(x)[0] + torch.zeros(self.batch_size, 1, 4),
    r"the sample\'s 3 rows.*`batch_size`(?!.*scan)",
    members=lambda: {"batch_size": 3, "scale": torch.ones(2, 2)},
)
refuse(
    "noise",
    lambda self, x: self.rnn(x, (torch.randn(2, x.size(0), 4), torch.zeros(2, x.size(0), 4)))[0],
    r"random numbers: aten::randn",
    is_core=True,
)


def remembers(self, x):
    output, self.state = self.rnn(x, self.state)
    return output


def remembers_its_batch(self, x):
    """Keeps a state as long as the batch stays as large."""
    kept = self.state if self.state is not None and self.state[0].size(1) == x.size(0) else None
    output, self.state = self.rnn(x, kept)
    return output


def no_state():
    return {"state": None}


refuse("a state kept", remembers, r"keeps \['state'\] from one call to the next", members=no_state, is_core=True)
refuse("a state of a batch", remembers_its_batch, r"keeps \['state'\].*states=\{\"h_n\": \"h_0\"\}", members=no_state)


def quantised_linear():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.nn.quantized.Linear(3, 4)


def scripted_layer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(nn.LSTM(3, 4, batch_first=True))


refuse("a quantized layer", plain, r"`encoder\.rnn` is a quantized module .*before quantization", quantised_linear)
refuse("a scripted layer", plain, r"`encoder\.rnn` is a TorchScript", scripted_layer)

library = torch.library.Library("rnnserve_corpus", "DEF")
library.define("first(Tensor x, int n) -> Tensor")
library.impl("first", lambda x, n: x.narrow(1, 0, n) * 2, "CPU")
ONCE = "compute the result once, in __init__, and keep it as a buffer"
for name, (compute, said) in {
    "hypot": (lambda y: torch.hypot(y, y), r"torch\.sqrt\(x \* x \+ y \* y\)"),
    "searchsorted": (
        lambda y: torch.searchsorted(torch.arange(3.0), y),
        r"\(x\[\.\.\., None\] > boundaries\)\.sum\(-1\)",
    ),
    "scaled_dot_product_attention": (
        lambda y: F.scaled_dot_product_attention(*[y[None, None]] * 3),
        r"x\.flatten\(0, 1\)",
    ),
    "i0": (lambda y: torch.special.i0(y), r"docs/reference/compatibility\.md"),
    "svd": (lambda y: torch.linalg.svd(y.mT @ y)[1], ONCE),
}.items():
    refuse(
        f"the operator {name}",
        lambda self, x, compute=compute: compute(self.rnn(x)[0]),
        rf"^{name} \(at (?!.*OpOverload)(?!.*\n).*{said}",
        lambda: nn.GRU(3, 3, batch_first=True),
        is_core=name == "hypot",
        is_located=True,
    )
refuse(
    "a compiled operator",
    lambda self, x: self.rnn(torch.ops.rnnserve_corpus.first(x, x.size(1)))[0],
    r"calls rnnserve_corpus\.first\.default \(at refused_layers\.py:\d+\), a compiled operator",
    is_located=True,
)
