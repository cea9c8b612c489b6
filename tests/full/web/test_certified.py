"""`rnnserve serve --client-roles` as people run it: HTTP, metrics, our own clients, workers."""

import contextlib
import http.client
import ssl

import pytest

from kit.certificates import ClientAuthority, role_row, write_certificates
from kit.served import served_process
from kit.waiting import PATIENCE, until
from rnnserve.client import Client

from .locked_fronts import BODY, SIMPLE

KINDS = ("infer", "metrics", "admin")


class CertifiedFront:
    def __init__(self, process, address, folder, roles):
        self.process, self.address, self.folder, self.roles = process, address, folder, roles

    def context(self, kind):
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / f"{kind}.pem", self.folder / f"{kind}.key")
        return context

    def connect(self, kind):
        host, _, port = self.address.partition(":")
        return contextlib.closing(
            http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=self.context(kind))
        )

    def ask(self, kind, path, method="GET", body=None, headers=None):
        with self.connect(kind) as connection:
            return self.ask_on(connection, path, method, body, headers)

    def ask_on(self, connection, path, method="GET", body=None, headers=None):
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()

    def client(self, kind):
        return Client(
            f"grpcs://{self.process.address}",
            tls_ca=self.folder / "ca.pem",
            tls_certificate=self.folder / f"{kind}.pem",
            tls_key=self.folder / f"{kind}.key",
        )


@contextlib.contextmanager
def certified_process(repository, folder, **more):
    authority, files = ClientAuthority(), write_certificates(folder)
    (folder / "clients.pem").write_bytes(authority.pem)
    roles = folder / "roles.toml"
    roles.write_text(
        "".join(role_row(kind, f"CN={kind}", kind) for kind in KINDS)
        + role_row("elsewhere", "uri:urn:elsewhere", "infer", 'models = ["another_model"]')
    )
    for kind in (*KINDS, "stranger"):
        authority.issue(f"CN={kind}").write(folder, kind)
    authority.issue("CN=x", ["urn:elsewhere"]).write(folder, "elsewhere")
    more |= {"tls_certificate": files.server, "tls_key": files.key(files.server)}
    more |= {"tls_client_ca": folder / "clients.pem", "client_roles": roles}
    with served_process(repository, http_port=0, **more) as process:
        yield CertifiedFront(process, process.http_address, folder, roles)
        assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def certified(repository, tmp_path_factory):
    more = {"model_control": "explicit", "load_model": "*"}
    with certified_process(repository, tmp_path_factory.mktemp("certified"), **more) as certified:
        yield certified


def test_permissions_of_one_connection_do_not_apply_to_another(certified):
    """The front keeps for a moment what the server has said, and knows heads by their bytes."""
    path = f"/v2/models/{SIMPLE}/infer"
    with contextlib.ExitStack() as stack:
        connections = {
            kind: stack.enter_context(certified.connect(kind)) for kind in ("infer", "stranger", "metrics", "elsewhere")
        }
        expected = {"infer": 200, "stranger": 401, "metrics": 403, "elsewhere": 403}
        for _ in range(10):
            for kind, connection in connections.items():
                assert certified.ask_on(connection, path, "POST", BODY)[0] == expected[kind]
        for path in ("/v2/models", "/page/models"):
            assert certified.ask("infer", path)[0] == 200
            assert certified.ask("stranger", path)[0] == 401
        seen = {kind: certified.ask(kind, "/page/models")[1] for kind in ("infer", "elsewhere")}
        assert b"classes" in seen["infer"]
        assert b"classes" not in seen["elsewhere"]


def test_changed_roles_file_is_read_again(repository, tmp_path):
    with certified_process(repository, tmp_path, workers=2) as certified:
        assert certified.ask("infer", "/v2")[0] == 200
        assert certified.ask("stranger", "/v2")[0] == 401
        certified.roles.write_text(role_row("a", "CN=stranger", "metrics"))
        until(lambda: certified.ask("stranger", "/metrics")[0] == 200)
        until(lambda: certified.ask("infer", "/v2")[0] == 401)
