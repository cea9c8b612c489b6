"""TorchScript: equal to eager bit for bit, bytes that repeat, and nothing of this machine in them.

That they repeat in another process: `recurrence/test_bytes.py`.
"""

import io
import pathlib
import warnings
import zipfile
from typing import Any

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, script, script_bytes


class Stack(nn.Module):
    """Several classes of one name, a function and a nested container."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        torch.manual_seed(hidden)
        self.first = nn.GRU(3, 8, batch_first=True)
        self.second = nn.GRU(8, hidden, bidirectional=True, batch_first=True)
        self.third = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.heads = nn.Sequential(nn.Linear(hidden, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output, _ = self.first(input)
        output, _ = self.second(output)
        return self.heads(self.third(output)[0])


def load(content):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated")
        return torch.jit.load(io.BytesIO(content))


@pytest.mark.parametrize("hidden", [4, 5])
def test_equals_eager_bit_for_bit_also_after_loading(hidden):
    module = Stack(hidden)
    assert module.training
    scripted = script(module)
    assert module.training, "training flags are as before"
    loaded = load(script_bytes(scripted))
    module.eval()
    for batch, sequence in ((1, 1), (1, 9), (7, 2)):
        input = torch.randn(batch, sequence, 3)
        with torch.no_grad():
            assert torch.equal(scripted(input), module(input))
            assert torch.equal(loaded(input), module(input))


def test_bytes_repeat_whatever_was_scripted_before():
    first = script_bytes(script(Stack(5)))
    script(Stack(6))
    script(Stack(7))
    assert script_bytes(script(Stack(5))) == first
    kept = Stack(5)
    assert script_bytes(script(kept)) == first, "whoever else holds its tensors"
    assert script_bytes(load(first)) == first


def test_no_path_and_no_debug_record():
    content = script_bytes(script(Stack(4)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
        texts = [archive.read(name) for name in archive.namelist()]
    for path in (pathlib.Path(torch.__file__).parent, pathlib.Path(__file__).parent, pathlib.Path.home()):
        assert not [text for text in texts if str(path).encode() in text]


def test_what_torchscript_cannot_compile_is_refused():
    class Odd(nn.Module):
        def forward(self, input):
            return sorted({"a": input}.items(), key=lambda item: item[0])

    with pytest.raises(UnsupportedModule, match="TorchScript cannot compile Odd"):
        script(Odd())


def test_warnings_of_the_user_are_not_swallowed():
    before = list(warnings.filters)
    script(Stack(4))
    assert list(warnings.filters) == before


def test_a_module_without_source_code_is_refused_with_words():
    """As one that was typed at Python's prompt: TorchScript compiles from source."""
    namespace: dict[str, Any] = {"__name__": "prompt"}
    exec("import torch\nclass Typed(torch.nn.Module):\n    def forward(self, x):\n        return x\n", namespace)
    with pytest.raises(UnsupportedModule, match=r"TorchScript cannot compile Typed: .*source"):
        script(namespace["Typed"]())
