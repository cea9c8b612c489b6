"""Several servers that come and go: while requests run, by new addresses of a name, and as a file lists them."""

import contextlib
import socket
import threading
from concurrent import futures

import pytest

from kit.clients import addresses_of, ask, counts, reach_all, started
from kit.waiting import PATIENCE, until
from rnnserve.client import Client, ClientError, Unavailable, addresses, endpoint


def test_no_request_fails_while_servers_end(connect, servers):
    client = connect(addresses_of(servers))
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
        for each in servers[:2]:
            each.stop.close()  # at once: calls in flight are lost
        before = counts(servers)[2]
        until(lambda: counts(servers)[2] > before + 20)
    assert not failed


@pytest.fixture
def names(monkeypatch):
    """The addresses of each name of this test's DNS. Tests change them."""
    found: dict[str, list[str]] = {}

    def look_up(host, port, **_):
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in ip], socket.SOCK_STREAM, 0, "", (ip, port)) for ip in found[host]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(endpoint, "_NAMES_SECONDS", 0.0)
    return found


def port_of(server):
    return server.address.rpartition(":")[2]


def is_asked(client, server):
    with contextlib.suppress(ClientError):  # of a call that a blocked server got
        client.infer("echo", {"input": [1.0]}, timeout=0.2)
    return counts([server])[0]


def test_client_follows_a_name_and_lets_calls_in_flight_end(servers, names):
    names.update(a=["127.0.0.1"], b=["127.0.0.1"])
    with (
        started(f"127.0.0.2:{port_of(servers[1])}") as moved,
        Client([f"a:{port_of(servers[0])}", f"b:{port_of(servers[1])}"]) as client,
        futures.ThreadPoolExecutor(2) as pool,
    ):
        reach_all(client, servers[:2])
        for each in servers[:2]:
            each.service.blocked = threading.Event()
        held = [pool.submit(client.infer, "echo", {"input": [float(at)]}) for at in range(2)]
        until(lambda: counts(servers[:2]) == [1, 1])
        names.update(a=["127.0.0.2"], b=["127.0.0.2"])
        until(lambda: is_asked(client, moved))
        for each in servers[:2]:
            each.service.blocked.set()
        assert [each.result(PATIENCE)["input"].tolist() for each in held] == [[0.0], [1.0]]
        names.clear()  # while DNS does not answer, the client keeps the servers that it has found
        ask(client, 4)


@pytest.mark.parametrize(
    ("found", "resolved"),
    [
        ({"a": ["10.0.0.1", "10.0.0.2"], "b": ["10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1", "10.0.0.1"], "b": ["::2", "10.0.0.2"]}, ["10.0.0.1:1", "10.0.0.2:1"]),
        ({"a": ["::1"], "b": ["::2"]}, ["[::1]:1", "[::2]:1"]),
        ({"b": ["10.0.0.2"]}, ["10.0.0.2:1"]),
    ],
)
def test_names_are_resolved_to_addresses_of_one_kind(names, found, resolved):
    names.update(found)
    assert addresses.resolve(["a:1", "b:1"]) == resolved
    names.clear()
    with pytest.raises(Unavailable, match=r"no address of a:1, b:1 is found \(a: Name or service not known\)"):
        addresses.resolve(["a:1", "b:1"])


def test_client_follows_a_file_of_servers(connect, servers, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoint, "_FILE_SECONDS", 0.0)

    def write(text):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(tmp_path / "endpoints")

    client = connect(f"file://{tmp_path / 'endpoints'}")
    write("# none yet")
    with pytest.raises(Unavailable, match="endpoints lists no server just now"):
        ask(client)
    write("\n".join(["# those of now", *addresses_of(servers[:2]), ""]))
    reach_all(client, servers[:2])
    assert counts(servers)[2] == 0
    write("\n".join(addresses_of(servers[1:])))
    reach_all(client, servers[1:])

    def has_left():
        servers[0].service.calls.clear()
        ask(client, 4)
        return counts(servers)[0] == 0

    until(has_left)
    for broken in ("", "no address", "file:///another"):  # the client keeps the servers that it has
        write(broken)
        ask(client, 4)
