"""The commands of every page that starts servers work as written, in order."""

import re

import pytest

from kit.held_ports import held_port
from kit.page_sessions import OTHERS, Command, PageSession, commands, run_commands, starts_server


@pytest.mark.parametrize("name", [name for name, page in OTHERS.items() if starts_server(page)])
def test_commands_of_pages_that_start_servers_work(name, folder):
    lines = commands(OTHERS[name])
    first = next(found[1] for line in lines if (found := re.search(r"rnnserve (serve|infer|load) ", line)))
    with held_port() as grpc, held_port() as http, PageSession(folder, {"8001": grpc, "8000": http}) as session:
        if first != "serve":
            session.do(Command("rnnserve serve repository", ""))  # the page asks it before it says how it is started
        run_commands(session, OTHERS[name])
