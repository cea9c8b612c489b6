"""torch's tables of decompositions: built once in a process, the same as new ones, and each export's own."""

import functools
import typing

import pytest
import torch
from torch import nn
from torch.export import exported_program
from torch.onnx._internal.exporter import _decomp

from rnnserve.export import export_onnx
from rnnserve.export.recurrence import decomposition_tables
from rnnserve.export.recurrence.decomposition_tables import decompositions_kept

TABLE, SPLIT = "create_onnx_friendly_decomposition_table", "_split_decomp_table_to_cia_and_python_decomp"
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
TRANSLATED = {torch.ops.aten.relu.default, torch.ops.aten.linear.default}


KEYS = "_AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE", "_BACKEND_KEYS_TO_OVERRIDE"


def keys():
    return [[key.name for key in getattr(exported_program, name)] for name in KEYS]


def replaced():
    return getattr(_decomp, TABLE), getattr(exported_program, SPLIT), vars(torch._ops)["Callable"], keys()


@pytest.fixture(autouse=True)
def originals_are_back():
    before = replaced()
    yield
    assert replaced() == before


@pytest.fixture
def builds(monkeypatch):
    """Names of torch's builders, as often as they are called."""
    called = []

    def counted(build):
        @functools.wraps(build)
        def counting(table):
            called.append(build.__name__)
            return build(table)

        return counting

    monkeypatch.setattr(_decomp, TABLE, counted(getattr(_decomp, TABLE)))
    monkeypatch.setattr(exported_program, SPLIT, counted(getattr(exported_program, SPLIT)))
    monkeypatch.setattr(decomposition_tables, "_kept", {})
    yield called
    monkeypatch.undo()


def export(module=None):
    program = export_onnx(
        module or nn.Sequential(nn.Linear(3, 3), nn.Hardswish()).eval(),
        (torch.zeros(2, 3),),
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: "batch"},),
    )
    return [node.op_type for node in program.model_proto.graph.node]


def built():
    """Both results, as torch and an export ask for them: of kernels made for the table, what they are made of."""
    table = getattr(_decomp, TABLE)(set(TRANSLATED))
    return [_contents(part) for part in (table, *getattr(exported_program, SPLIT)(dict(table)))]


def _contents(table):
    def of(value):
        return (value.func.__name__, value.keywords) if isinstance(value, functools.partial) else value

    return {operator: of(value) for operator, value in table.items()}


class Elsewhere(torch.Tensor):
    """A tensor that says where it is."""

    place: torch.device

    def __new__(cls, device):
        made = torch.zeros(2).as_subclass(cls)
        made.place = torch.device(device)
        return made

    @property
    def device(self):  # type: ignore[override]  # torch's own can be set, says its stub
        return self.place


@pytest.mark.parametrize("device", ["cpu", "meta", "cuda", "xla"])
def test_composite_operators_have_kernels_for_the_devices_of_the_program(device):
    every = keys()
    program = torch.export.export(nn.Linear(3, 3), (torch.zeros(2, 3),))
    next(iter(program.graph.nodes)).meta["val"] = Elsewhere(device)
    with decompositions_kept(program):
        usual = [["AutogradCPU", "AutogradCUDA", "AutogradMeta"], ["CPU", "CUDA", "Meta"]]
        assert keys() == (every if device == "xla" else usual)
    assert keys() == every


def test_exports_build_them_once(builds):
    assert export() == export()
    assert sorted(builds) == sorted([TABLE, SPLIT])


def test_copies_are_what_torch_builds():
    expected = built()
    with decompositions_kept():
        assert built() == built() == expected
    with decompositions_kept():
        assert built() == expected
    table, composite, others = expected
    assert len(table) > 500
    assert len(composite) > 300
    assert len(others) > 300
    assert not TRANSLATED & table.keys()


def test_tables_for_some_translations_are_not_those_for_others():
    table = functools.partial(getattr(_decomp, TABLE), {torch.ops.aten.hardswish.default})
    expected = _contents(table())
    with decompositions_kept():
        built()
        assert _contents(getattr(_decomp, TABLE)({torch.ops.aten.hardswish.default})) == expected != built()[0]


def test_what_an_export_changes_is_its_own():
    with decompositions_kept():
        expected = built()
        table = getattr(_decomp, TABLE)(set(TRANSLATED))
        for part in (*getattr(exported_program, SPLIT)(dict(table)), table):
            part.clear()
        assert built() == expected


def _later_decomposition(monkeypatch):
    monkeypatch.setitem(torch._decomp.decomposition_table, torch.ops.aten.cholesky.default, lambda *_: None)


def _later_kernel(monkeypatch):
    monkeypatch.setitem(torch.ops.aten.hinge_embedding_loss.default.py_kernels, COMPOSITE, lambda *_: None)


@pytest.mark.parametrize("later", [_later_decomposition, _later_kernel])
def test_what_comes_later_is_in_the_tables_as_long_as_it_is_there(later, monkeypatch):
    with decompositions_kept():
        before = built()
    with monkeypatch.context() as only_here:
        later(only_here)
        expected = built()
        assert expected != before
        with decompositions_kept():
            assert built() == expected
    with decompositions_kept():
        assert built() == before


def test_operators_that_come_later_are_looked_for(builds):
    export()
    with torch.library._scoped_library("rnnserve_later", "FRAGMENT") as library:
        library.define("same(Tensor x) -> Tensor")
        library.impl("same", lambda x: x.clone(), COMPOSITE.name)

        class Later(nn.Module):
            def forward(self, x):
                return torch.ops.rnnserve_later.same(x) + 1

        assert "Add" in export(Later().eval())
    assert builds.count(SPLIT) == 2


def test_a_torch_with_its_builders_elsewhere_builds_them_for_each_export(builds, monkeypatch):
    monkeypatch.setattr(
        decomposition_tables, "_BUILDERS", {"torch.no_such_module": TABLE, "torch.export.exported_program": "no_such"}
    )
    monkeypatch.setattr(torch._ops, "Callable", typing.Callable)
    assert export() == export()
    assert builds.count(TABLE) == builds.count(SPLIT) == 2


def test_an_export_that_fails_restores_torch():
    class Fails(nn.Module):
        def forward(self, x):
            return torch.special.erfcx(x)  # its translation is refused

    with pytest.raises(Exception, match="erfcx"):
        export(Fails())
