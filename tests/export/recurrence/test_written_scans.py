"""A loop that is not captured as it is, is written as a scan: exported if it gives the same values, else shown.

What is shown runs as it is, gives the same values, and can be exported.
"""

import dataclasses
import importlib.util

import pytest
import torch

from kit.looped_modules import LOOPS, Looped
from kit.refused_loops import LONGER, WRITTEN
from kit.scanned_modules import module_of
from rnnserve.export import UnsupportedModule, export_onnx
from rnnserve.export.recurrence import changed_functions, export
from rnnserve.export.recurrence.written_scans.proposal import as_scan

SIZES = [(1, 1), (2, 2), (5, 3), (3, 40)]
"""(batch, sequence)"""
X = [{0: "batch", 1: "sequence"}]
OTHERS = """
def loop(function):
    return function


def made_elsewhere():
    return []
"""


def refusal(function):
    """The message with which a module of a function is refused, if what is written is shown only."""
    module = module_of(lambda self, x: function(self, x), **dict(Looped([]).named_children()))

    def shown_only(*args):
        found = as_scan(*args)
        return found and dataclasses.replace(found, same_values=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "as_scan", shown_only)
        patch.setattr(changed_functions, "value_branch", lambda *_: None)
        with pytest.raises(UnsupportedModule) as refused:
            export_onnx(
                module.eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=tuple(X)
            )
    return str(refused.value)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """What the refusals show, each a function of a file of its own."""
    folder, functions = tmp_path_factory.mktemp("scans"), {}
    torch.manual_seed(0)
    for number, (name, function) in enumerate(WRITTEN.items()):
        said, _, text = refusal(function).partition("\n\nfrom rnnserve.export import scan\n")
        assert f"`{function.__name__}` (refused_loops.py:" in said, said
        path = folder / f"scan_{number}.py"
        path.write_text(f"import torch\nfrom rnnserve.export import scan\n{OTHERS}\n{text}")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        functions[name] = getattr(module, function.__name__)
    return functions


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_shown_computes_the_same(shown, name):
    module = Looped([])
    for sizes in SIZES:
        x = torch.randn(*sizes, 3)
        expected, found = (
            torch.utils._pytree.tree_leaves(each(module, x.clone())) for each in (WRITTEN[name], shown[name])
        )
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(one, other[:, : one.size(1)] if name == LONGER else other)


def test_what_is_shown_can_be_exported(exported, shown, monkeypatch):
    for name, function in shown.items():
        monkeypatch.setitem(LOOPS, name, function)
    torch.manual_seed(0)
    module = Looped(shown)
    result = exported(module, (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for batch, sequence in SIZES:
        result.agrees(torch.randn(batch, sequence, 3), limit=3e-5)
    assert result.operators.count("Scan") >= len(shown)


def test_a_loop_whose_outputs_would_be_longer_is_refused():
    module = module_of(lambda self, x: WRITTEN[LONGER](self, x), **dict(Looped([]).named_children()))
    with pytest.raises(UnsupportedModule, match="those after the loop would have ended are zeros"):
        export_onnx(
            module.eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=tuple(X)
        )


def test_what_goes_on_after_a_break_is_said():
    assert "its outputs have all steps: those after the loop would have ended are zeros" in refusal(WRITTEN[LONGER])


def test_a_loop_that_no_scan_has_is_refused_without_one():
    def modules_of_steps(self, x):
        h = x[:, 0]
        for t in range(x.size(1)):
            h = self.layers[t](x[:, t])
        return h

    assert "import scan" not in refusal(modules_of_steps)
