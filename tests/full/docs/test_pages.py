"""Every page of the documentation works as written: its Python blocks and its commands, in order."""

import re

import pytest

from kit.documentation import prepare_folder
from kit.held_ports import held_port
from kit.page_sessions import (
    NOT_RUN,
    PAGES,
    Command,
    PageSession,
    examples,
    is_run,
    run_commands,
    run_examples,
    starts_server,
    steps,
)


def commands(page):
    return [step.line for step in steps(page) if isinstance(step, Command)]


OTHERS = {name: page for name, page in PAGES.items() if name not in ("README", "docs/tutorial")}
WITH_COMMANDS = {name: page for name, page in OTHERS.items() if any(map(is_run, commands(page)))}


@pytest.fixture(scope="module")
def beside_a_server(repository, checkpoints, tmp_path_factory):
    """A session with a server of `repository`, for the pages that start none."""
    folder = tmp_path_factory.mktemp("pages")
    prepare_folder(folder, repository, checkpoints)
    with held_port() as grpc, held_port() as http, PageSession(folder, {"8001": grpc, "8000": http}) as session:
        session.do(Command("rnnserve serve repository", ""))
        yield session


@pytest.mark.parametrize("name", [name for name, page in WITH_COMMANDS.items() if not starts_server(page)])
def test_commands_of_a_page_work(name, beside_a_server):
    run_commands(beside_a_server, PAGES[name])


@pytest.mark.parametrize("name", [name for name, page in WITH_COMMANDS.items() if starts_server(page)])
def test_commands_of_a_page_with_servers_work(name, folder):
    lines = [line for line in commands(PAGES[name]) if is_run(line)]
    with held_port() as grpc, held_port() as http, PageSession(folder, {"8001": grpc, "8000": http}) as session:
        first = next(found[1] for line in lines if (found := re.search(r"rnnserve (serve|infer|load) ", line)))
        if first != "serve":
            session.do(Command("rnnserve serve repository", ""))  # the page asks it before it says how it is started
        run_commands(session, PAGES[name])


@pytest.mark.parametrize("name", [name for name, page in OTHERS.items() if examples(page)])
def test_python_blocks_of_a_page_work(name, port, folder, monkeypatch):
    monkeypatch.chdir(folder)
    run_examples(name, PAGES[name], port)


def test_commands_that_are_not_run_are_on_a_page():
    lines = [line for page in PAGES.values() for line in commands(page)]
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)] == []
