"""Certificates for the tests of TLS, those of clients with any names in them, and a file of roles of clients."""

import dataclasses
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


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


_LONG_AGO, _LATE = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2070, 1, 1, tzinfo=dt.UTC)


class ClientIdentity(NamedTuple):
    """A certificate and its key.

    Attributes:
        certificate: The certificate, in PEM.
        key: Its private key, in PEM.
    """

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both into a folder."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        for path, content in zip(paths, self, strict=True):
            path.write_bytes(content)
        return paths


class ClientAuthority:
    """Signs certificates of clients.

    Attributes:
        pem: Its own certificate, in PEM.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string("CN=clients of tests")
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, subject: str = "", uris: Sequence[str] = (), hosts: Sequence[str] = ()) -> ClientIdentity:
        """Sign a certificate with these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name.from_rfc4514_string(subject), key.public_key())
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, hosts)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not subject)
        signed = builder.sign(self._key, hashes.SHA256())
        return ClientIdentity(
            signed.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_LONG_AGO)
            .not_valid_after(_LATE)
        )


def role_row(name: str, subject: str, role: str, *more: str) -> str:
    """Write a row of the file of client roles."""
    return "\n".join([f"[{name}]", f'subject = "{subject}"', f'role = "{role}"', *more, ""])
