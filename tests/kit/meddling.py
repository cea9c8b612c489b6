"""A module that changes itself and the settings of the process, and a description of all that must stay as it was."""

import random
import warnings

import numpy as np
import torch
from torch import nn

from rnnserve.export import Floats, Publication

INPUTS = {"x": Floats("batch", "sequence", ("features", 3)), "h_0": Floats(1, "batch", ("hidden", 4))}


class Meddling(nn.Module):
    """Changes all that a forward can: itself, and the settings of the process."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.frozen = nn.Linear(4, 2)
        self.frozen.weight.requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []
        self.by_name: dict[str, object] = {"first": 1}
        self.kept = torch.full((2,), torch.nan)
        weight: nn.Parameter = self.gru.get_parameter("weight_hh_l0")
        weight.grad = torch.ones_like(weight)
        self.fails_after = 10**9
        self.train()
        self.frozen.eval()
        self.hooked: list[str] = []
        self.gru.register_forward_hook(lambda *_: self.hooked.append("hook"))
        self.gru.register_forward_pre_hook(lambda *_: self.hooked.append("before"))

    def forward(self, x, h_0):
        self.seen.append(len(self.seen))
        self.by_name["last"] = len(self.seen)
        self.later = len(self.seen)
        if len(self.seen) > self.fails_after:
            raise ValueError("it fails now")
        if not torch.compiler.is_exporting():
            self.get_buffer("calls").add_(1)
            self.kept.fill_(3.0)
            self.frozen.weight.requires_grad_(True)
            self.frozen.bias.data.add_(0.0)
            self.register_forward_hook(lambda *_: None)
            random.random()
            np.random.rand()  # noqa: NPY002 - the state of all numpy
            torch.rand(1)
            warnings.simplefilter("ignore")
            torch.use_deterministic_algorithms(True, warn_only=True)
        output, h_n = self.gru(x, h_0)
        return self.dropout(self.frozen(output)), h_n


def everything(module):
    """All that may not change, in a form that is compared with ==."""
    return {
        "training": [(name, submodule.training) for name, submodule in module.named_modules()],
        "identities": [(name, id(tensor)) for name, tensor in module.state_dict(keep_vars=True).items()],
        "requires_grad": [(name, p.requires_grad, id(p.grad)) for name, p in module.named_parameters()],
        "values": [(n, t.detach().numpy().tobytes(), t.dtype, t.device) for n, t in module.state_dict().items()],
        "attributes": [
            (name, attribute, id(value), list(value) if isinstance(value, list | dict) else None)
            for name, submodule in module.named_modules()
            for attribute, value in submodule.__dict__.items()
        ],
        "kept": module.kept.numpy().tobytes(),
        "flat weights": [id(weight) for weight in module.gru._flat_weights],
        "pointers": [p.data_ptr() for p in module.parameters()],
        "random": (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),  # noqa: NPY002
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_float32_matmul_precision(),
            float(torch.tensor(1e-39) * 1.0),
        ),
        "warnings": list(warnings.filters),
        "forward of PyTorch": [cls.forward.__code__ for cls in (nn.RNN, nn.GRU, nn.LSTM)],
        "packing": nn.utils.rnn.pack_padded_sequence.__code__,
    }


def assert_unchanged(before, after):
    for what, value in before.items():
        assert after[what] == value, what


def described(module, **changes):
    fields = {"inputs": INPUTS, "outputs": ["y", "h_n"], "states": {"h_n": "h_0"}, **changes}
    return Publication(module, "model", **fields)
