"""Every command of a how-to, and of the tutorial, runs, in order, and prints what the page says; every file is used."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.held_ports import held_port
from support.page_sessions import FENCED, SHELL, Command, File, PageSession, steps

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
NEED_MORE = {"cuda": "a GPU"}
"""Pages whose commands are parsed only (`test_commands.py`): they have no `$ `."""

EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.mark.parametrize("page", [page for page in PAGES if any(steps(page.read_text()))], ids=lambda page: page.stem)
def test_what_a_page_says_works(page, checkpoints, repository, tmp_path):
    shutil.copytree(repository, tmp_path / "repository")
    with held_port() as grpc, held_port() as http, PageSession(tmp_path, {"8001": grpc, "8000": http}) as session:
        for step in steps(page.read_text()):
            program = step.line.split()[0] if isinstance(step, Command) else "true"
            if not program.startswith("rnnserve") and shutil.which(program) is None:
                pytest.skip(f"there is no {program} here")
            session.do(step)


def test_what_the_tutorial_says_works(tmp_path):
    """Its cells first, as its reader has run them before the first command; what they print: `test_python_examples`."""
    cells = [block["text"] for block in FENCED.finditer(TUTORIAL) if block["language"] == "python"]
    (tmp_path / "cells.py").write_text("\n".join(cells))
    subprocess.run([sys.executable, "cells.py"], cwd=tmp_path, check=True, capture_output=True)
    commands = [step for step in steps(TUTORIAL) if isinstance(step, Command)]
    assert {step.line.split()[1] for step in commands} >= {"serve", "load", "health"}
    with held_port() as grpc, held_port() as http, PageSession(tmp_path, {"8001": grpc, "8000": http}) as session:
        for step in commands:
            session.do(step)


@EACH_PAGE
def test_every_command_of_a_page_is_run(page):
    """One in a block without `$ ` would not be."""
    shell = [block["text"] for block in FENCED.finditer(page.read_text()) if block["language"] in SHELL]
    without = [text for text in shell if not re.search(r"^\$ ", text, re.MULTILINE)]
    left_out = re.findall(r"^ *(?:rnnserve|make|pip) .*", "\n".join(without), re.MULTILINE)
    assert not left_out or page.stem in NEED_MORE


@EACH_PAGE
def test_every_file_of_a_page_is_used(page):
    found = list(steps(page.read_text()))
    typed = "\n".join(step.line for step in found if isinstance(step, Command))
    texts = "\n".join(step.text for step in found if isinstance(step, File))
    for name in (step.name for step in found if isinstance(step, File)):
        assert name in typed or f"from {name.removesuffix('.py')} import" in texts


@EACH_PAGE
def test_metrics_that_a_page_names_are_there(page):
    known = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    named = set(re.findall(r"rnnserve_[a-z_]+[a-z]", page.read_text()))
    assert [name for name in named if name not in known] == []


PLANTED = """\
```
$ first \\
  --goes-on
it prints …
and more
$ second
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
"""


def test_steps_are_found():
    assert list(steps(PLANTED)) == [
        Command("first   --goes-on", "it prints …\nand more"),
        Command("second", ""),
        File("name.py", "# name.py\n1\n"),
    ]


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
        ("rnnserve load --serve r", "load --serve r"),
        ("rnnserve doctor r", "doctor --grpc-port 17 --http-port 18 r"),
    ]:
        session.do(Command(line, said))
