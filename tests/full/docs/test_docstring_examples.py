"""The examples in the docstrings of what others build on run, and print what they say."""

import inspect
import re
import textwrap

import pytest

from rnnserve.client import Client
from rnnserve.export import Publication, publish
from rnnserve.server import Server

PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)


@pytest.mark.parametrize("documented", [publish, Publication, Server, Client], ids=lambda one: one.__name__)
def test_docstring_example_prints_its_comment(documented, port, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    source = textwrap.dedent(inspect.getdoc(documented).partition("\nExample:\n")[2]).replace("8001", str(port))
    said = PRINTED.findall(source)
    assert said
    exec(compile(source, documented.__name__, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.splitlines() == said
