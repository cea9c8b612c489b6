"""Certificates for the tests of TLS."""

import dataclasses
from pathlib import Path

import grpc
import trustme

__all__ = ["Certificates", "write_certificates"]


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Files in PEM, each key beside its certificate chain.

    Attributes:
        ca: The authority that has signed `server`, `elsewhere` and `client`.
        server: Certificate for localhost and 127.0.0.1.
        elsewhere: Certificate for another host, signed by `ca` too.
        client: Certificate of a client.
        other_ca: Another authority.
        stranger: Certificate of a client, signed by `other_ca`.
    """

    ca: Path
    server: Path
    elsewhere: Path
    client: Path
    other_ca: Path
    stranger: Path

    @staticmethod
    def key(certificate: Path) -> Path:
        """The key of one of the certificates."""
        return certificate.with_suffix(".key")

    def server_credentials(self, certificate: Path, *, mutual: bool = False) -> grpc.ServerCredentials:
        """Credentials of a server with one of the certificates, which asks for client certificates if `mutual`."""
        chain = (self.key(certificate).read_bytes(), certificate.read_bytes())
        return grpc.ssl_server_credentials([chain], self.ca.read_bytes() if mutual else None, mutual)


def write_certificates(folder: Path) -> Certificates:
    """Write new certificates into a folder."""
    authority, other = trustme.CA(), trustme.CA()
    files = Certificates(
        *(folder / f"{field.name}.pem" for field in dataclasses.fields(Certificates)),
    )
    authority.cert_pem.write_to_path(files.ca)
    other.cert_pem.write_to_path(files.other_ca)
    for path, issued in (
        (files.server, authority.issue_cert("localhost", "127.0.0.1")),
        (files.elsewhere, authority.issue_cert("elsewhere.example")),
        (files.client, authority.issue_cert("client.example")),
        (files.stranger, other.issue_cert("client.example")),
    ):
        path.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files.key(path))
    return files
