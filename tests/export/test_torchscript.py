"""TorchScript: equal to eager bit for bit, bytes that repeat, and nothing of this machine in them.

`tests/full/export/test_own_modules_bytes.py` tests that the bytes repeat in another process.
"""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn

from kit.machine_words import machine_words
from rnnserve.export import UnsupportedModule, script, script_bytes


class Stack(nn.Module):
    """Several layers of one class, and a nested container."""

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


def test_loaded_script_equals_eager_bit_for_bit():
    module, before = Stack(4), list(warnings.filters)
    scripted = script(module)
    assert module.training, "training flags are as before"
    assert list(warnings.filters) == before
    loaded = load(script_bytes(scripted))
    module.eval()
    for batch, sequence in ((1, 1), (1, 9), (7, 2)):
        input = torch.randn(batch, sequence, 3)
        with torch.no_grad():
            assert torch.equal(scripted(input), module(input))
            assert torch.equal(loaded(input), module(input))


def test_script_bytes_are_reproducible():
    first = script_bytes(script(Stack(5)))
    script(Stack(6))
    kept = Stack(5)
    assert script_bytes(script(kept)) == first, "whoever else holds its tensors"
    assert script_bytes(load(first)) == first


def test_archive_contains_no_path_and_no_debug_record():
    with zipfile.ZipFile(io.BytesIO(script_bytes(script(Stack(4))))) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
        texts = [archive.read(name) for name in archive.namelist()]
    for word in machine_words(Path(torch.__file__).parent, Path(__file__).parent):
        assert not [text for text in texts if word in text]


class Sorted(nn.Module):
    def forward(self, input):
        return sorted({"a": input}.items(), key=lambda item: item[0])


class Annotated(nn.Module):
    """TorchScript's compiler raises an AssertionError for such an annotation."""

    kind: Literal["fixed", "learned"] | None

    def __init__(self):
        super().__init__()
        self.kind = None

    def forward(self, input):
        return input if self.kind is None else -input


def typed_at_the_prompt(_):
    namespace: dict[str, Any] = {"__name__": "prompt"}
    exec("import torch\nclass Typed(torch.nn.Module):\n    def forward(self, x):\n        return x\n", namespace)
    return namespace["Typed"]()


def edited_since(folder):
    path = folder / "edited.py"
    path.write_text("import torch\nclass Edited(torch.nn.Module):\n    def forward(self, x):\n        return x\n")
    namespace: dict[str, Any] = {"__name__": "edited"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    path.write_text('"""\nA docstring that has a comma, and\n  brackets (\n"""\n' + path.read_text())
    return namespace["Edited"]()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Sorted(), "cannot compile Sorted"),
        (lambda _: Annotated(), "cannot compile Annotated: Unsupported annotation"),
        (typed_at_the_prompt, "cannot compile Typed: .*source"),
        (edited_since, "cannot compile Edited"),
    ],
)
def test_module_that_torchscript_cannot_compile_is_refused(make, message, tmp_path):
    with pytest.raises(UnsupportedModule, match=f"TorchScript {message}"):
        script(make(tmp_path))
