"""An export restores everything that it changes. Meanwhile other threads use PyTorch's own code."""

import logging
import queue
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import rnn

from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.recurrence.interception import _EXCHANGES

ORIGINALS = {name: exchange.function.__code__ for name, exchange in _EXCHANGES.items()}


class Packs(nn.Module):
    def __init__(self, during=lambda: None):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.during = during

    def forward(self, input, lengths):
        self.during()
        packed = rnn.pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class LazyModule:
    """A missing package that is imported lazily, as in Keras."""

    def __getattr__(self, name):
        raise ModuleNotFoundError(f"no module is called absent, whose {name} was asked for")


class Lazy(nn.Module):
    package = LazyModule()

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, input, lengths):
        mask = torch.arange(input.size(1)) < lengths[:, None]
        return self.rnn(input * mask[:, :, None], self.package.state if self.training else None)[0]


SAMPLE = (torch.randn(3, 4, 3), torch.tensor([4, 2, 1]))


def export(module):
    return export_onnx(
        module,
        SAMPLE,
        input_names=["input", "lengths"],
        output_names=["output"],
        dynamic_shapes=({0: "batch", 1: "sequence"}, {0: "batch"}),
    )


@pytest.fixture(autouse=True)
def nothing_left_behind():
    filters, grad, level = list(warnings.filters), torch.is_grad_enabled(), logging.getLogger("onnxscript").level
    yield
    assert {name: exchange.function.__code__ for name, exchange in _EXCHANGES.items()} == ORIGINALS
    assert (list(warnings.filters), torch.is_grad_enabled()) == (filters, grad)
    assert logging.getLogger("onnxscript").level == level
    packed = rnn.pack_padded_sequence(*SAMPLE, batch_first=True, enforce_sorted=False)
    assert type(packed) is rnn.PackedSequence
    assert packed.data.shape == (7, 3)
    assert type(nn.GRU(3, 4)(packed)[0]) is rnn.PackedSequence


def test_module_is_unchanged_after_a_success():
    module = Packs()
    module.rnn.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    attributes = dict(module.rnn.__dict__)
    export(module)
    assert module.training
    assert module.rnn.training
    assert module.rnn.__dict__ == attributes
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    module(*SAMPLE).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("error", [RuntimeError("of the module's own"), KeyboardInterrupt()])
def test_global_state_is_unchanged_after_an_exception(error):
    def fail():
        raise error

    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UnsupportedModule):
        export(Packs(fail).eval())


def test_other_threads_use_pytorchs_own_code():
    seen = queue.SimpleQueue[Any]()  # no list, which would be left as it was
    reference = Packs().eval()
    expected = reference(*SAMPLE)

    def during():
        with ThreadPoolExecutor(1) as pool:
            seen.put(pool.submit(reference, *SAMPLE).result())
            seen.put(pool.submit(rnn.pack_sequence, [torch.ones(2), torch.ones(1)]).result())

    export(Packs(during).eval())
    results = [seen.get() for _ in range(seen.qsize())]
    assert len(results) >= 2
    assert all(torch.equal(result, expected) for result in results[::2])
    assert all(type(result) is rnn.PackedSequence for result in results[1::2])


def test_several_threads_can_export_at_once():
    with ThreadPoolExecutor(3) as pool:
        barrier = threading.Barrier(3)

        def work():
            barrier.wait()
            return export(Packs().eval())

        programs = [future.result() for future in [pool.submit(work) for _ in range(3)]]
    assert all(program.model.graph.outputs[0].name == "output" for program in programs)


def test_missing_optional_package_is_not_imported():
    export(Lazy().eval())
