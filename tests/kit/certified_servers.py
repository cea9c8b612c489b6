"""A server in the test's process that knows its callers by their certificates."""

import contextlib
import os
import re

import grpc

from kit.any_method import ask_any
from kit.certificates import write_certificates
from kit.client_certificates import ClientAuthority, role_row
from kit.locked_servers import BODIES
from kit.served import served
from kit.waiting import until
from rnnserve.protos.access_table import ROLES
from rnnserve.protos.protocol_words import CERTIFICATE, PEER

__all__ = ["certified_server"]


class Certified:
    """A server, its file of roles, a channel for each kind of client, and one of its front."""

    def __init__(self, server, roles, socket, identities, server_ca):
        self.server, self.roles, self.socket, self.identities = server, roles, socket, identities
        self._server_ca = server_ca
        self.channels = {kind: self._open(identity) for kind, identity in identities.items()}

    def _open(self, identity):
        credentials = grpc.ssl_channel_credentials(self._server_ca, identity.key, identity.certificate)
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(f"localhost:{self.server.port}", credentials, options)

    def told(self, kind):
        """What a front says of a client of its own."""
        text = re.sub(r"-----[^-]+-----|\s", "", self.identities[kind].certificate.decode())
        return [(CERTIFICATE, text), (PEER, "ipv4:10.0.0.1:5")]

    def ask(self, method, kind, metadata=(), body=None):
        """Ask any method over the port, as a client."""
        return ask_any(self.channels[kind], method, _body_of(method) if body is None else body, metadata)

    def ask_as_front(self, method, kind=None):
        """Ask any method over the socket, for a client, or for one without a certificate."""
        return ask_any(self.socket, method, _body_of(method), [] if kind is None else self.told(kind))


def _body_of(method):
    return BODIES.get(method.rpartition("/")[2], b"")


@contextlib.contextmanager
def certified_server(repository, folder, transport="lane"):
    authority, files = ClientAuthority(), write_certificates(folder)
    clients = folder / "clients.pem"
    clients.write_bytes(authority.pem)
    roles = folder / "roles.toml"
    roles.write_text(
        "".join(role_row(kind, f"CN={kind},O=Example", kind) for kind in ROLES)
        + role_row("elsewhere", "uri:spiffe://example.org/elsewhere", "infer", 'models = ["another_model"]')
        + role_row("limited", "dns:limited.example.org", "infer", "in_flight = 1", "rate = 0.001")
    )
    identities = {kind: authority.issue(f"CN={kind},O=Example") for kind in (*ROLES, "stranger")}
    identities["elsewhere"] = authority.issue("CN=x", ["spiffe://example.org/elsewhere"])
    identities["limited"] = authority.issue("CN=x", [], ["limited.example.org"])
    tls = {"tls_certificate": files.server, "tls_key": files.key(files.server), "tls_client_ca": clients}
    more = {"client_roles": roles, "private_sockets": folder, "max_wrong_tokens": 1 << 30}
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(served(repository, host="localhost", transport=transport, **tls, **more))
        server = running.server
        until(server._repository.is_ready)
        options = [("grpc.default_authority", "localhost")]
        socket = stack.enter_context(grpc.insecure_channel(f"unix:{folder / f'{os.getpid()}.sock'}", options))
        certified = Certified(server, roles, socket, identities, files.ca.read_bytes())
        for channel in certified.channels.values():
            stack.enter_context(channel)
        yield certified
