"""The commands of every page that starts no server work as written, beside a server."""

import pytest

from kit.documentation import prepare_folder
from kit.held_ports import held_port
from kit.page_sessions import NOT_RUN, OTHERS, PAGES, Command, PageSession, commands, run_commands, starts_server


@pytest.fixture(scope="module")
def session(repository, checkpoints, tmp_path_factory):
    """A session with a server of `repository`."""
    folder = tmp_path_factory.mktemp("pages")
    prepare_folder(folder, repository, checkpoints)
    with held_port() as grpc, held_port() as http, PageSession(folder, {"8001": grpc, "8000": http}) as session:
        session.do(Command("rnnserve serve repository", ""))
        yield session


@pytest.mark.parametrize("name", [name for name, page in OTHERS.items() if commands(page) and not starts_server(page)])
def test_commands_of_a_page_work_beside_a_server(name, session):
    run_commands(session, PAGES[name])


def test_commands_excluded_from_the_run_exist_on_a_page():
    lines = [line for page in PAGES.values() for line in commands(page, are_run=False)]
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)] == []
