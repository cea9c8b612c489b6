"""Every command of README.md and docs/ runs, page by page, in order, and prints what the page says; every file is used.

A command begins with `$ `. What cannot run here is in `NOT_RUN`, with the reason.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from kit.certificates import write_certificates
from kit.held_ports import held_port
from kit.page_sessions import Block, Command, File, PageSession, blocks, steps
from kit.paths import ROOT

PAGES = {
    str(path.relative_to(ROOT).with_suffix("")): path.read_text()
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
}
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
HOW_TOS = {name: text for name, text in PAGES.items() if name.startswith("docs/how-to/")}

NOT_RUN = {
    "make ": "takes minutes or a network; test_commands.py holds that target and variables are there",
    ". .venv/bin/activate": "has a shell find the programs of an environment; here they are found first already",
    "python3 -m venv ": "makes an environment; `make dist` does, for each extra",
    "pip ": "needs a package index; `make dist` installs each extra",
    "git checkout v": "a release of this repository, which a clone need not have",
    "sha256sum --check ": "the files of a release; `make dist` writes and compares them",
    "cat dist/": "likewise",
    "python -m benchmarks.": "measures, for minutes",
    "PYTHONPATH=tests python -m ": "fuzzes, or tries each operator, for minutes to hours",
    "python -m tests.drills.wire ": "attacks a server; tests/drills does",
    "apt-get ": "needs root",
    "grpcurl ": "is in no package index; tests/conformance asks the reflection",
    "podman ": "needs the image, which `make image-test` builds and runs",
    "kubectl ": "needs a cluster; tests/deploy checks the manifests",
    "export RAY_": "needs several machines; `make ray-test` has three nodes",
    "ray ": "likewise",
    "rnnserve ray ": "likewise",
    "envoy ": "needs Envoy; tests/deploy/test_envoy.py runs it with this file",
    "rnnserve web --upstream 10.": "servers on other machines; tests/web has them on this one",
    "rnnserve doctor repository --provider cuda": "needs a GPU; `make gpu` serves there",
    "rnnserve serve repository --provider cuda": "likewise",
    'rnnserve load --serve repository --serve-flags="--provider': "likewise",
    "rnnserve load --compare cpu.json cuda.json": "likewise",
}
"""Beginnings of commands that do not run here, and why."""


def reason_of(line: str) -> str:
    """Why a command does not run here; empty for one that does."""
    return next((reason for beginning, reason in NOT_RUN.items() if line.startswith(beginning)), "")


def commands(page: str) -> list[Command]:
    return [step for step in steps(page) if isinstance(step, Command)]


def to_do(page: str) -> list[Command | File]:
    """The steps of a page that are done here."""
    return [step for step in steps(page) if isinstance(step, File) or not reason_of(step.line)]


def servers_of(page: str) -> list[Command]:
    """What is to be typed before all others: a server, where a page asks one before it says how it is started."""
    lines = [step.line for step in to_do(page) if isinstance(step, Command)]
    first = next((found[1] for line in lines if (found := re.search(r"rnnserve (serve|infer|load) ", line))), "serve")
    return [] if first == "serve" else [Command("rnnserve serve repository", "")]


def with_commands(pages: dict[str, str], *, serving: bool) -> list[str]:
    """The names of the pages with commands, those that start a server or the others."""
    found = {name: [step.line for step in to_do(page) if isinstance(step, Command)] for name, page in pages.items()}
    return [
        name
        for name, lines in found.items()
        if lines and serving == any(re.search(r"^(\w+=\S+ )*rnnserve serve ", line) for line in lines)
    ]


def with_what_pages_have(folder: Path, repository: Path) -> None:
    """Put into a folder what pages take for given: a repository, the examples, certificates, a file from elsewhere."""
    shutil.copytree(repository, folder / "repository")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("zoo"))
    files = write_certificates(folder)
    shutil.copy(files.ca, folder / "clients.pem")
    nodes = [onnx.helper.make_node("CumSum", ["x", "axis"], ["y"])]
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [], [1])
    described = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "t", 2]) for name in "xy"]
    graph = onnx.helper.make_graph(nodes, "foreign", described[:1], described[1:], [axis])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), folder / "foreign.onnx")
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    samples: dict[str, Any] = {"x": x, "output:y": x.cumsum(1)}
    np.savez(folder / "samples.npz", **samples)


def do_all(session: PageSession, page: str) -> None:
    missing = set()
    for step in to_do(page):
        program = step.line.split()[0] if isinstance(step, Command) else "true"
        if "=" not in program and shutil.which(program, path=PATH) is None:
            missing.add(program)
            continue
        session.do(step)
    if missing:
        pytest.skip(f"all but commands of programs that are not here: {', '.join(missing)}")


@pytest.fixture(scope="module")
def beside_a_server(repository, tmp_path_factory):
    """A session in which a server of `repository` goes on, for the pages that start none."""
    folder = tmp_path_factory.mktemp("pages")
    with_what_pages_have(folder, repository)
    with held_port() as grpc, held_port() as http, PageSession(folder, {"8001": grpc, "8000": http}) as session:
        session.do(Command("rnnserve serve repository", ""))
        yield session


@pytest.mark.parametrize("name", with_commands(PAGES, serving=False))
def test_what_a_page_says_works(name, beside_a_server):
    do_all(beside_a_server, PAGES[name])


@pytest.mark.parametrize("name", [one for one in with_commands(PAGES, serving=True) if one != "docs/tutorial"])
def test_what_a_page_with_servers_says_works(name, repository, tmp_path):
    with_what_pages_have(tmp_path, repository)
    with held_port() as grpc, held_port() as http, PageSession(tmp_path, {"8001": grpc, "8000": http}) as session:
        for server in servers_of(PAGES[name]):
            session.do(server)
        do_all(session, PAGES[name])


def test_what_the_tutorial_says_works(tmp_path):
    """Its cells first, as its reader has run them before the first command; what they print: `test_python_examples`."""
    tutorial = PAGES["docs/tutorial"]
    cells = [block.text for block in blocks(tutorial) if block.language == "python"]
    (tmp_path / "cells.py").write_text("\n".join(cells))
    subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, check=True, capture_output=True)
    found = [step for step in commands(tutorial) if not reason_of(step.line)]
    assert {step.line.split()[1] for step in found} >= {"serve", "load", "health"}
    with held_port() as grpc, held_port() as http, PageSession(tmp_path, {"8001": grpc, "8000": http}) as session:
        for step in found:
            session.do(step)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_a_shell_has_commands(name):
    """One without `$ ` would not be run: other blocks say what they are, such as `text`."""
    assert [block.text for block in blocks(PAGES[name]) if block.is_of_shell and not block.text.startswith("$ ")] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_block_of_another_language_is_a_file(name):
    """Which is there for the commands of its page; those of Python run by themselves (`test_python_examples.py`)."""
    files = {step.text for step in steps(PAGES[name]) if isinstance(step, File)}
    others = [
        block for block in blocks(PAGES[name]) if not block.is_of_shell and block.language not in ("python", "text")
    ]
    assert [block.text for block in others if block.text not in files] == []


@pytest.mark.parametrize("beginning", NOT_RUN)
def test_what_is_not_run_is_there(beginning):
    assert any(command.line.startswith(beginning) for page in PAGES.values() for command in commands(page))


@pytest.mark.parametrize("name", PAGES)
def test_every_file_of_a_page_is_used(name):
    found = list(steps(PAGES[name]))
    typed = "\n".join(step.line for step in found if isinstance(step, Command))
    texts = "\n".join(step.text for step in found if isinstance(step, File))
    for file in (step.name for step in found if isinstance(step, File)):
        assert file in typed or f"from {file.removesuffix('.py')} import" in texts


@pytest.mark.parametrize("name", HOW_TOS)
def test_metrics_that_a_page_names_are_there(name):
    known = PAGES["docs/reference/metrics"]
    named = set(re.findall(r"rnnserve_[a-z_]+[a-z]", HOW_TOS[name]))
    assert [metric for metric in named if metric not in known] == []


PLANTED = """\
```
$ first \\
  --goes-on
it prints …
and more
$ X=1 .venv/bin/second | .venv/bin/third
$ . .venv/bin/activate
```

```python
# name.py
1
```

```python
not_a_file()
```

```
neither = "a command"
```

1. In a list:

   ```
   $ third 'that goes
   on' |
     fourth
   it prints
   ```
"""


def test_steps_are_found():
    assert list(steps(PLANTED)) == [
        Command("first   --goes-on", "it prints …\nand more"),
        Command("X=1 second | third", ""),
        Command(". .venv/bin/activate", ""),
        File("name.py", "# name.py\n1\n"),
        Command("third 'that goes\non' |\n  fourth", "it prints"),
    ]
    assert [*blocks(PLANTED)][-2:] == [
        Block("", 'neither = "a command"\n'),
        Block("", "$ third 'that goes\non' |\n  fourth\nit prints\n"),
    ]


def test_what_does_not_run_says_why():
    assert reason_of("make test")
    assert not reason_of("rnnserve serve repository")


@pytest.mark.parametrize(
    ("line", "printed"),
    [("echo one; echo two", "one\ntwo"), ("echo one two", "…two"), ("echo one", ""), ("echo 8001", "8001")],
)
def test_what_a_page_says_is_compared(tmp_path, line, printed):
    with PageSession(tmp_path, {"8001": 17, "8000": 18}) as session:
        session.do(Command(line, printed))


@pytest.mark.parametrize(
    ("line", "printed"), [("echo one", "two"), ("echo one", "on"), ("false", ""), ("false | true", "")]
)
def test_what_is_otherwise_is_told(tmp_path, line, printed):
    with (
        PageSession(tmp_path, {"8001": 17, "8000": 18}) as session,
        pytest.raises(AssertionError, match="the page says"),
    ):
        session.do(Command(line, printed))


def test_commands_ask_the_page_s_own_server(tmp_path):
    (tmp_path / "rnnserve").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "rnnserve").chmod(0o755)
    session = PageSession(tmp_path, {"8001": 17, "8000": 18}, programs=tmp_path)
    for line, said in [
        ("rnnserve infer m rows", "infer --url 127.0.0.1:17 m rows"),
        ("echo 1 | rnnserve infer m", "infer --url 127.0.0.1:17 m"),
        ("rnnserve infer m --url grpcs://localhost:8001", "infer m --url grpcs://localhost:17"),
        ("rnnserve health --model m", "health 127.0.0.1:17 --model m"),
        ("rnnserve health http://127.0.0.1:8000", "health http://127.0.0.1:18"),
        ("rnnserve load --serve r", "load --duration 0.5 --warmup 0.1 --serve r"),
        ("rnnserve load --slo p99=1ms", "load --rate 100 --url 127.0.0.1:17 --slo p50=5s --max-requests 100"),
        ("rnnserve doctor r", "doctor --grpc-port 17 --http-port 18 r"),
    ]:
        session.do(Command(line, said))
