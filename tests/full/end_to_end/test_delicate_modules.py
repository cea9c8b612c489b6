"""Nothing is wrong without a word: each delicate module is refused with words, or answers as it does in eager mode."""

import copy

import grpc
import numpy as np
import pytest
import torch
from torch import nn

from full.end_to_end.delicate_modules import DELICATE, Delicate
from kit.inference_requests import arrays, request
from rnnserve.export import Publication, publish
from rnnserve.export.errors import ExportError
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server.testing import serve

CLOSE = 1e-4
"""Largest difference from eager, relative to values above 1, where eager's own rounding is small."""

ROUNDING = 30
"""Multiple of eager's distance from float64 that is allowed as well: what is delicate is ill-conditioned, too."""


def eager(delicate: Delicate, module: nn.Module, given: dict) -> list[np.ndarray]:
    """What the module gives, in its own dtype. What the request leaves out is left out."""
    names = [name for name in delicate.inputs if name in given]
    dtype = next(module.parameters()).dtype
    tensors = [torch.tensor(given[name]) for name in names]  # of their own: some modules write to them
    tensors = [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in tensors]
    with torch.no_grad():
        found = module(*tensors)
    return [tensor.numpy() for tensor in flatten(found)]


def flatten(found) -> list[torch.Tensor]:
    return [found] if isinstance(found, torch.Tensor) else [tensor for part in found for tensor in flatten(part)]


def differences(served: np.ndarray, expected: np.ndarray, exact: np.ndarray) -> str:
    """Say how an answer differs from eager, or nothing."""
    if served.shape != expected.shape:
        return f"shape {served.shape}, expected {expected.shape}"
    if served.dtype.kind in "iub":
        return "" if np.array_equal(served, expected) else f"{served.tolist()}, expected {expected.tolist()}"
    finite = np.isfinite(expected)
    if not np.array_equal(np.isnan(served), np.isnan(expected)) or not np.array_equal(
        served[~finite & ~np.isnan(expected)], expected[~finite & ~np.isnan(expected)]
    ):
        places = [np.argwhere(~np.isfinite(array)).tolist()[:3] for array in (served, expected)]
        return f"not finite at {places[0]}, eager at {places[1]}"
    served, expected, exact = served[finite], expected[finite], exact[finite]
    if not expected.size:
        return ""
    allowed = CLOSE * np.maximum(1, np.abs(expected)) + ROUNDING * np.abs(expected - exact)
    off = np.abs(served - expected)
    return f"off by {off.max():.3g} of {np.abs(expected).max():.3g}" if (off > allowed).any() else ""


class Together(nn.Module):
    """Calls several modules with the same inputs."""

    def __init__(self, modules):
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, *inputs):
        return [module(*inputs) for module in self.members]


def groups():
    """Names of modules that are published together: up to eight of the same inputs and requests."""
    found, alike = [], {}
    for name, each in DELICATE.items():
        if each.apart or each.refused or each.more or len(each.inputs) > 1:
            found.append([name])
        else:
            alike.setdefault((id(each.inputs), each.requests), []).append(name)
    for names in alike.values():
        found += [names[first : first + 8] for first in range(0, len(names), 8)]
    return found


@pytest.mark.parametrize("names", groups(), ids=lambda names: names[0])
def test_it_is_refused_with_words_or_right(names, tmp_path):
    several = [DELICATE[name] for name in names]
    first = several[0]
    torch.manual_seed(0)
    modules = [each.make().eval() for each in several]
    outputs = [f"{output}_{at}" for at, each in enumerate(several) for output in each.outputs]
    module = Together(modules).eval() if len(modules) > 1 else modules[0]
    outputs = outputs if len(modules) > 1 else first.outputs
    publication = Publication(module, "delicate", first.inputs, outputs, **first.more)
    if first.refused:
        with pytest.raises(ExportError, match=first.refused):
            publish(publication, repository=tmp_path, progress=False)
        assert not list(tmp_path.glob("delicate/*/model.onnx"))  # nothing is left that could be served
        return
    publish(publication, repository=tmp_path, progress=False)
    requests = first.requests(np.random.default_rng(0))
    expected = [eager(first, module, given) for given in requests]
    exact_module = copy.deepcopy(module).double()
    wrong = []
    with serve(tmp_path) as server, grpc.insecure_channel(server.address) as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        alone = [stub.ModelInfer.future(request("delicate", given)) for given in requests[:1]]
        alone[0].result()
        together = [stub.ModelInfer.future(request("delicate", given)) for given in requests * 4]
        for number, call in enumerate(together):
            given, found = requests[number % len(requests)], expected[number % len(requests)]
            if call.code() is not grpc.StatusCode.OK:
                if all(np.isfinite(array).all() for array in found):
                    wrong.append(f"{describe(given)}: {call.code().name}: {call.details()}")
                continue
            answer = arrays(call.result())
            exact = eager(first, exact_module, given)
            for at, output in enumerate(outputs):
                if said := differences(answer[output], found[at], exact[at]):
                    wrong.append(f"{describe(given)}: {output} {said}")
    assert not wrong, "\n".join(sorted(set(wrong)))


def describe(given: dict) -> str:
    return ", ".join(f"{name} {array.shape} like {array.ravel()[:3]}" for name, array in given.items()) or "nothing"
