"""What the doors of the rooms say is true: the names in them, what they import, their threads, and where gRPC is.

A room is a folder of modules; its door is the docstring of its `__init__`. What "Door:" names is held by import-linter
(`tests/support/door_contract.py`).
"""

import ast
import functools
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
AREAS = ("cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
SERVER = ROOT / "server" / "rnnserve" / "server"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
OTHER_NAMES = {"proj_size", "with"}  # of torch, and of Python
THREADS = {"Thread", "ThreadPoolExecutor", "Timer", "start_new_thread"}


def rooms():
    inits = (path for area in AREAS for path in (ROOT / area / "rnnserve").rglob("__init__.py"))
    return sorted(path.parent for path in inits)


def named(room):
    return ".".join(room.relative_to(ROOT).parts[1:])


EACH_ROOM = pytest.mark.parametrize("room", rooms(), ids=named)
ROOMS_OF_THE_SERVER = [room for room in rooms() if room.parent == SERVER]


def door(room):
    return ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))


def names_after(word, text):
    """The names in backticks of the sentence that begins with a word."""
    found = re.search(rf"^{word}:? ([^.;]*(?:\.\w[^.;]*)*)", text, re.MULTILINE)
    return set(re.findall(r"`([\w.]+)`", found[1])) if found else set()


class Module(NamedTuple):
    """A module as its text has it.

    Attributes:
        names: What it defines or uses by name.
        imports: Full names of modules of rnnserve.
        starts_threads: Whether threads, or pools of them, are made in it.
    """

    names: set[str]
    imports: set[str]
    starts_threads: bool


@functools.cache
def read(path):
    names, imports, called = set(), set(), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            called += node.bases if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Call):
            called.append(node.func)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            imports |= {getattr(node, "module", None) or alias.name for alias in node.names}
    makers = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in called}
    return Module(names, {name for name in imports if name.startswith("rnnserve.")}, not makers.isdisjoint(THREADS))


@EACH_ROOM
def test_names_in_a_door_are_there(room):
    """A module that is renamed, moved or gone is not named any more."""
    area = ROOT.joinpath(*room.relative_to(ROOT).parts[:3])
    known = {"rnnserve", "__all__"}
    for path in area.rglob("*.py"):
        parts = path.with_suffix("").relative_to(area).parts
        known |= {f"rnnserve.{area.name}." + ".".join(parts), ".".join(parts), parts[-1]}
    known |= {named(path) for path in rooms()} | {path.name for path in rooms()}
    known |= {name for path in room.rglob("*.py") for name in read(path).names}
    said = {name.removesuffix(".py") for name in re.findall(r"`(\w[\w.]*)`", door(room))}
    assert said - known - OTHER_NAMES == set()


@EACH_ROOM
def test_modules_that_start_threads_are_named(room):
    starting = {path.stem for path in room.glob("*.py") if read(path).starts_threads}
    assert names_after("Threads", door(room)) == starting


@pytest.mark.parametrize("room", ROOMS_OF_THE_SERVER, ids=named)
def test_a_room_imports_the_rooms_that_its_door_says(room):
    said = names_after("Imports", door(room))
    if not said or "every room below" in door(room):
        pytest.skip("the door does not name them; import-linter holds the order of the rooms")
    modules = {module for path in room.rglob("*.py") for module in read(path).imports}
    parts = {tuple(module.split(".")) for module in modules if not f"{module}.".startswith(f"{named(room)}.")}
    assert said == {part[2] if part[1] == "server" else f"rnnserve.{part[1]}" for part in parts}


def test_doors_that_forbid_grpc_are_those_of_the_contract():
    (contract,) = (contract for contract in CONTRACTS if contract.get("forbidden_modules") == ["grpc"])
    forbidding = {named(room) for room in rooms() if re.search(r"\bno gRPC\b", door(room))}
    assert forbidding == set(contract["source_modules"])
    for ignored in contract["ignore_imports"]:
        room, _, module = ignored.split()[0].rpartition(".")
        assert f"no gRPC but in `{module}`" in door(ROOT / "server" / Path(*room.split(".")))


def test_the_table_of_the_server_has_each_of_its_rooms():
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract.get("containers") == ["rnnserve.server"])
    table = re.findall(r"^`(\w+)(?:/|\.py)`", door(SERVER), re.MULTILINE)
    assert sorted(table) == sorted(room for layer in layers for room in layer.split(" : "))


def test_what_is_wrong_is_found(tmp_path):
    assert names_after("Imports", "A room.\n\nImports `a`, `b.c`\nand `d`; no `e`.") == {"a", "b.c", "d"}
    for line in ("Thread()", "threading.Thread(target=f)", "class A(futures.ThreadPoolExecutor): ..."):
        (module := tmp_path / f"module_{hash(line)}.py").write_text(line)
        assert read(module).starts_threads
    assert rooms()
