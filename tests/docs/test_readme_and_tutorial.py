"""README and tutorial work as written: their Python blocks and their commands."""

import pytest

from kit.held_ports import held_port
from kit.page_sessions import PAGES, Command, PageSession, examples, run_commands, run_examples


def test_readme_examples_and_commands_work(port, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for group in examples(PAGES["README"]):
        run_examples("README", group, port)
    run_commands(PageSession(folder, {"8001": port, "8000": port}), PAGES["README"])


def test_tutorial_works(port, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for group in examples(PAGES["docs/tutorial"]):
        run_examples("docs/tutorial", group, port)
    with held_port() as grpc, held_port() as http, PageSession(tmp_path, {"8001": grpc, "8000": http}) as session:
        run_commands(session, PAGES["docs/tutorial"])


def test_page_session_fails_if_a_command_prints_something_else(tmp_path):
    session = PageSession(tmp_path, {"8001": 17, "8000": 18})
    session.do(Command("echo one; echo two 8001", "one\ntwo …"))
    for line, printed in (("echo one", "two"), ("echo one", "on"), ("false", ""), ("false | true", "")):
        with pytest.raises(AssertionError, match="the page says"):
            session.do(Command(line, printed))
