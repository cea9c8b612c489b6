"""Files for TLS that are replaced while they are served, in the ways in which people and platforms replace them."""

import datetime as dt
import ssl
from pathlib import Path

import trustme

from rnnserve.common.tls_identity import TlsFiles

NAMES = ("server.pem", "server.key", "clients.pem")

WAYS = ("written", "renamed", "linked")
"""How files are replaced: in place, one after the other; each by a rename; all by a link, as Kubernetes does."""


class RotatedFiles:
    """The files of a server, all of whose certificates are of one authority.

    Attributes:
        authority: Who signs the server's certificates.
        clients: Who signs those of the clients that are admitted at first.
        folder: Where the files are.
        trusted: Certificate of `authority`, for clients.
        files: Their paths, for the server.
    """

    def __init__(self, folder: Path, way: str = "written", *, mutual: bool = False) -> None:
        self.authority, self.clients = trustme.CA(), trustme.CA()
        self.folder, self._way, self._count = folder, way, 0
        folder.mkdir(parents=True, exist_ok=True)
        self.trusted = self.authority.cert_pem.bytes()
        self.files = TlsFiles(folder / NAMES[0], folder / NAMES[1], folder / NAMES[2] if mutual else None)
        if way == "linked":
            for name in NAMES:
                (folder / name).symlink_to(Path("..data", name))
        self._held: dict[str, bytes] = {}
        self.certificate = self.rotate(self.clients)

    def options(self) -> list[str]:
        """The options of a command."""
        named = {"--tls-certificate": self.files.certificate, "--tls-key": self.files.key}
        if self.files.client_ca is not None:
            named["--tls-client-ca"] = self.files.client_ca
        return [f"{name}={path}" for name, path in named.items()]

    def issued(
        self, not_before: dt.datetime | None = None, not_after: dt.datetime | None = None
    ) -> tuple[bytes, bytes]:
        """A new certificate for this machine and its key."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1", not_before=not_before, not_after=not_after)
        return b"".join(part.bytes() for part in issued.cert_chain_pems), issued.private_key_pem.bytes()

    def rotate(self, clients: trustme.CA | None = None) -> bytes:
        """Replace the certificate and its key, and the authority of clients; return the certificate."""
        certificate, key = self.issued()
        self.replace(certificate, key, None if clients is None else clients.cert_pem.bytes())
        return certificate

    def replace(self, certificate: bytes | None = None, key: bytes | None = None, clients: bytes | None = None) -> None:
        """Replace some of the files."""
        new = {
            name: contents
            for name, contents in zip(NAMES, (certificate, key, clients), strict=True)
            if contents is not None
        }
        self._held |= new
        self._count += 1
        if self._way == "linked":
            version = self.folder / f"..{self._count}"
            version.mkdir()
            for name, contents in self._held.items():
                (version / name).write_bytes(contents)
            link = self.folder / "..next"
            link.symlink_to(version.name)
            link.rename(self.folder / "..data")
            return
        for name, contents in new.items():
            path = self.folder / name
            if self._way == "renamed":
                path.with_suffix(".new").write_bytes(contents)
                path.with_suffix(".new").replace(path)
            else:
                path.write_bytes(contents)


def client_context(trusted: bytes, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """What a client connects with.

    Args:
        trusted: Authorities that it trusts, in PEM.
        client: Certificate that it shows.
    """
    context = ssl.create_default_context(cadata=trusted.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if client is not None:
        client.configure_cert(context)
    return context


def shown(port: int) -> bytes:
    """The certificate that a server shows, in PEM, whoever signed it. What comes after it is not awaited."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=20.0).encode()
