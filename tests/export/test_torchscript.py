"""TorchScript: equal to eager bit for bit, bytes that repeat, and nothing of this machine in them.

That they repeat in another process: `recurrence/test_bytes.py`.
"""

import inspect
import io
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from kit.machine_words import machine_words
from rnnserve.export import UnsupportedModule, script, script_bytes, torchscript
from rnnserve.export.module_interface import ModuleInterface
from rnnserve.export.parity.tensor_checks import check_script
from rnnserve.protos import manifest_pb2


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
    for word in machine_words(Path(torch.__file__).parent, Path(__file__).parent):
        assert not [text for text in texts if word in text]


def test_what_torchscript_cannot_compile_is_refused():
    class Odd(nn.Module):
        def forward(self, input):
            return sorted({"a": input}.items(), key=lambda item: item[0])

    with pytest.raises(UnsupportedModule, match="TorchScript cannot compile Odd"):
        script(Odd())


def test_a_type_that_torchscript_asserts_against_is_refused_with_words():
    """Its compiler raises an AssertionError for an annotation of an attribute that it does not take."""

    class Kind(nn.Module):
        kind: Literal["fixed", "learned"] | None

        def __init__(self):
            super().__init__()
            self.kind = None

        def forward(self, input):
            return input if self.kind is None else -input

    with pytest.raises(UnsupportedModule, match="TorchScript cannot compile Kind: Unsupported annotation"):
        script(Kind())


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


def test_a_module_whose_file_was_edited_since_is_refused_with_words(tmp_path):
    path = tmp_path / "edited.py"
    path.write_text("import torch\nclass Edited(torch.nn.Module):\n    def forward(self, x):\n        return x\n")
    namespace: dict[str, Any] = {"__name__": "edited"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    path.write_text('"""\nA docstring that has a comma, and\n  brackets (\n"""\n' + path.read_text())
    with pytest.raises(UnsupportedModule, match="TorchScript cannot compile Edited"):
        script(namespace["Edited"]())


class _Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 5, batch_first=True)

    def forward(
        self,
        x,
        scale: torch.Tensor | None = None,
        state: tuple[torch.Tensor, torch.Tensor] | None = None,
        lengths: torch.Tensor | None = None,
        gain: float = 2.0,
        bias: torch.Tensor | None = None,
    ):
        y = self.lstm(x, state)[0] * gain
        if scale is not None:
            y = y * scale
        if lengths is not None:
            y = y + lengths[:, None, None]
        if bias is not None:
            y = y + bias
        return y


@pytest.mark.parametrize(
    "inputs",
    [["x"], ["x", "lengths"], ["x", "h_0", "c_0"], ["x", "h_0", "c_0", "bias"], ["x", "scale", "lengths", "bias"]],
    ids="-".join,
)
def test_any_optional_parameter_may_be_left_out(inputs):
    module = _Optional().eval()
    scripted = script(module)
    interface = ModuleInterface.of_script(scripted, inputs, ["y"])
    shapes = {"x": (3, 4, 2), "lengths": (3,), "h_0": (1, 3, 5), "c_0": (1, 3, 5)}
    arrays = {name: np.random.default_rng(0).random(shapes.get(name, (3, 4, 5)), np.float32) for name in inputs}
    state = tuple(arrays[name] for name in ("h_0", "c_0") if name in inputs)
    given = {name: torch.from_numpy(array) for name, array in arrays.items() if name not in ("h_0", "c_0")}
    with torch.no_grad():  # with gradients, torch's kernel is another one
        expected = module(**given, state=tuple(map(torch.from_numpy, state)) or None)
    assert interface.call(scripted, arrays)["y"].tolist() == expected.tolist()
    tensors = [manifest_pb2.Tensor(name=name) for name in inputs]
    assert list(check_script(scripted, tensors)) == []


def test_torchs_own_classes_are_looked_for_once(monkeypatch):
    asked = []
    find = inspect.getsourcelines
    monkeypatch.setattr(inspect, "getsourcelines", lambda obj: asked.append(obj) or find(obj))
    first = script_bytes(script(Stack(4)))
    asked.clear()
    assert script_bytes(script(Stack(4))) == first
    assert asked  # functions, and the module's own
    assert not {nn.GRU, nn.LSTM} & {each for each in asked if isinstance(each, type)}
    torch.jit._recursive.get_overload_annotations(nn.GRU(3, 4), [])
    assert asked.count(nn.GRU) == 2  # by torch itself


def test_a_torch_that_looks_for_sources_elsewhere_scripts_the_same(monkeypatch):
    expected = script_bytes(script(Stack(4)))
    internal = vars(torch)["_jit_internal"]
    read = internal.get_source_lines_and_file
    with torchscript._torchs_classes_read_once():
        assert internal.get_source_lines_and_file is not read
    assert internal.get_source_lines_and_file is read
    elsewhere = types.FunctionType(
        internal._get_overloaded_methods.__code__, {**vars(internal), "get_source_lines_and_file": read}
    )
    monkeypatch.setattr(internal, "_get_overloaded_methods", elsewhere)
    monkeypatch.delattr(internal, "get_source_lines_and_file")
    with torchscript._torchs_classes_read_once():
        assert not hasattr(internal, "get_source_lines_and_file")
        assert torch.jit._recursive.get_overload_annotations(nn.GRU(3, 4), [])
    monkeypatch.undo()
    assert script_bytes(script(Stack(4))) == expected
