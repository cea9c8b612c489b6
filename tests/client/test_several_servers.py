"""Several servers: each gets its share, what is lost is sent to another one, and what a server keeps stays there."""

import contextlib
import socket
import threading
from concurrent import futures

import grpc
import pytest

from kit.fakes import serving
from kit.session_models import MODELS, FailingModels
from kit.waiting import PATIENCE, until
from rnnserve.client import (
    Client,
    ClientError,
    FailedPrecondition,
    InvalidRequest,
    Unavailable,
    addresses,
    endpoint,
)

from .fleet import Served, ask, asked, listed, reach_all

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "the server is stopping")


def test_each_gets_its_share(connect, servers):
    client = connect(listed(servers))
    reach_all(client, servers)
    ask(client, 30)
    assert asked(servers) == [10, 10, 10]


def test_one_at_a_time_where_that_is_asked_for(connect, servers):
    client = connect(",".join(listed(servers)), balancing="pick_first")
    ask(client, 6)
    assert asked(servers) == [6, 0, 0]


def test_an_unknown_way_is_refused():
    with pytest.raises(InvalidRequest, match="balancing 'random': expected one of round_robin, weighted"):
        Client(balancing="random")  # type: ignore[arg-type]  # the mistake


def test_a_server_that_says_it_does_not_serve_gets_nothing(connect, servers):
    client = connect(listed(servers))
    reach_all(client, servers)
    servers[1].say("NOT_SERVING")

    def has_left():
        servers[1].service.calls.clear()
        ask(client, 9)
        return not servers[1].asked

    until(has_left)
    servers[1].say("SERVING")
    reach_all(client, servers)


def test_what_one_server_cannot_answer_another_one_does(connect, servers):
    client = connect(listed(servers))
    reach_all(client, servers)
    servers[0].service.failure = UNAVAILABLE
    ask(client, 30)
    assert sum(asked(servers)) == 30 + servers[0].asked  # each that failed was sent once more
    assert servers[0].asked >= 10


def test_while_servers_end_and_come_no_request_fails(connect, servers):
    client = connect(listed(servers))
    reach_all(client, servers)
    failed, stopping = [], threading.Event()

    def keep_asking():
        while not stopping.is_set():
            try:
                ask(client)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
                failed.append(error)

    with contextlib.ExitStack() as stack:
        threads = [threading.Thread(target=keep_asking) for _ in range(4 if isinstance(client, Client) else 1)]
        for thread in threads:
            thread.start()
        stack.callback(lambda: [thread.join(PATIENCE) for thread in threads])
        stack.callback(stopping.set)
        servers[0].server.stop(None).wait()  # at once: calls in hand are lost
        servers[1].server.stop(PATIENCE)  # drained
        before = servers[2].asked
        until(lambda: servers[2].asked > before + 20)
    assert not failed


def test_few_requests_are_sent_again_where_all_servers_fail(connect, servers):
    client = connect(listed(servers))
    reach_all(client, servers)
    for each in servers:
        each.service.failure = UNAVAILABLE
    for _ in range(100):
        with pytest.raises(Unavailable, match="the server is stopping"):
            client.infer("echo", {"input": [1.0]})
    assert 100 < sum(asked(servers)) < 200  # the first ones up to four times
    for each in servers:
        each.service.failure = None
    ask(client, 9)


@pytest.fixture
def names(monkeypatch):
    """What each name of this test's DNS has; tests change it."""
    found: dict[str, list[str]] = {}

    def look_up(host, port, **_):
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in ip], socket.SOCK_STREAM, 0, "", (ip, port)) for ip in found[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(endpoint, "_NAMES_SECONDS", 0.0)
    return found


def test_names_among_several_are_looked_up_again(connect, servers, names):
    moved = Served.start(f"127.0.0.2:{servers[1].port}")
    try:
        names.update(a=["127.0.0.1"], b=["127.0.0.1"])
        client = connect([f"a:{servers[0].port}", f"b:{servers[1].port}"])
        reach_all(client, servers[:2])
        names["b"] = ["127.0.0.2"]
        reach_all(client, [moved])

        def has_left():
            servers[1].service.calls.clear()
            ask(client, 4)
            return not servers[1].asked

        until(has_left)
        del names["a"], names["b"]  # while DNS does not answer, the servers that were found go on
        ask(client, 4)
        assert servers[0].asked
        assert moved.asked
    finally:
        moved.server.stop(None).wait()


def test_calls_in_hand_end_where_they_are_when_a_name_has_moved(servers, names):
    names.update(a=["127.0.0.1"], b=["127.0.0.1"])
    moved = Served.start(f"127.0.0.2:{servers[1].port}")
    with Client([f"a:{servers[0].port}", f"b:{servers[1].port}"]) as client, futures.ThreadPoolExecutor(2) as pool:
        reach_all(client, servers[:2])
        for each in servers[:2]:
            each.service.blocked = threading.Event()
        held = [pool.submit(client.infer, "echo", {"input": [float(at)]}) for at in range(2)]
        until(lambda: asked(servers[:2]) == [1, 1])
        names.update(a=["127.0.0.2"], b=["127.0.0.2"])
        moved.service.calls.clear()
        until(lambda: _is_asked(client, moved))
        for each in servers[:2]:
            each.service.blocked.set()
        assert [each.result(PATIENCE)["input"].tolist() for each in held] == [[0.0], [1.0]]
        ask(client)
        assert not client._channels._left
    moved.server.stop(None).wait()


def _is_asked(client, server):
    with contextlib.suppress(ClientError):  # of a call that waits for a server that is held
        client.infer("echo", {"input": [1.0]}, timeout=0.2)
    return server.asked


@pytest.fixture
def listing(tmp_path, monkeypatch):
    """A function that replaces a file of servers' addresses, and the URL by which a client has it."""
    monkeypatch.setattr(endpoint, "_FILE_SECONDS", 0.0)
    path = tmp_path / "endpoints"

    def write(text):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(path)

    return write, f"file://{path}"


def test_a_file_of_servers_is_followed_as_it_changes(connect, servers, listing):
    write, url = listing
    write("\n".join(["# those of now", *listed(servers[:2]), ""]))
    client = connect(url)
    reach_all(client, servers[:2])
    assert not servers[2].asked
    write("\n".join(listed(servers[1:])))
    reach_all(client, servers[1:])

    def has_left():
        servers[0].service.calls.clear()
        ask(client, 4)
        return not servers[0].asked

    until(has_left)
    for broken in ("", "no address", "file:///another"):  # those that were found go on
        write(broken)
        ask(client, 4)
    assert sum(asked(servers[1:])) >= 12


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        (None, Unavailable, "endpoints, which lists the servers, cannot be read: No such file or directory"),
        ("# none yet\n", Unavailable, "endpoints lists no server just now"),
        ("10.0.0.1", InvalidRequest, "endpoints' has no host and port"),
        ("a:1\na:1", InvalidRequest, "endpoints': a:1 is listed twice"),
        ("file:///a", InvalidRequest, "endpoints lists another file: expected host:port, a line each"),
    ],
    ids=["missing", "empty", "no port", "twice", "another file"],
)
def test_a_file_that_lists_no_servers(connect, listing, text, error, said):
    write, url = listing
    if text is not None:
        write(text)
    with pytest.raises(error, match=said):
        connect(url).infer("echo", {"input": [1.0]})


def test_names_that_nobody_has(connect, names):
    client = connect(["a:1", "b:1"])
    with pytest.raises(Unavailable, match=r"no address of a:1, b:1 is found \(a: Name or service not known\)"):
        client.infer("echo", {"input": [1.0]})
    assert not client.is_live()


@pytest.mark.parametrize(
    ("found", "resolved"),
    [
        ({"a": ["10.0.0.1", "10.0.0.2"], "b": ["10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1", "10.0.0.1"], "b": ["::2", "10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1"], "b": ["::2"]}, ["[::1]:1", "[::2]:1"]),
        ({"b": ["10.0.0.2"]}, ["10.0.0.2:1"]),
    ],
    ids=["each once", "of two kinds", "of IPv6", "one that is missing"],
)
def test_what_names_lead_to(names, found, resolved):
    names.update(found)
    assert addresses.resolve(["a:1", "b:1"]) == resolved


def test_sessions_that_a_server_keeps_stay_there_and_are_sent_once():
    fakes = [FailingModels(MODELS) for _ in range(3)]  # type: ignore[abstract]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client([stack.enter_context(serving(fake)) for fake in fakes]))
        sessions = [stack.enter_context(client.session("sums", state="server")) for _ in range(3)]
        for fake in fakes:
            fake.asked.clear()
        for session in sessions * 4:
            session.step([1, 1])
        assert [len(fake.asked) for fake in fakes] == [4, 4, 4]
        for fake in fakes:
            fake.failures = [(grpc.StatusCode.UNAVAILABLE, False)]
        with pytest.raises(Unavailable, match="the server is stopping") as raised:
            sessions[0].step([1, 1])
        assert raised.value.__notes__ == ["with it, the session's states after 4 steps are lost; reset() begins anew"]
        assert sorted(len(fake.failures) for fake in fakes) == [0, 1, 1]
        with pytest.raises(FailedPrecondition, match="the session is over"):
            sessions[0].step([1, 1])
