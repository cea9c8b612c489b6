"""Where a server is and how to connect to it: host and port, with or without TLS."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import grpc

from rnnserve.client.channel import ChannelOptions
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.tls import TlsFiles

__all__ = ["Endpoint", "FilePath", "parse_endpoint"]

FilePath = str | os.PathLike[str]

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@?#]+):(?P<port>[0-9]{1,5})")
_EVERY_INTERFACE = {"0.0.0.0", "[::]"}  # noqa: S104 - refused below


@dataclass(frozen=True)
class Endpoint:
    """A server's address, and the files for TLS; it can be sent to other processes.

    Attributes:
        address: `host:port`.
        tls: Files for TLS; None for a server without TLS.
    """

    address: str
    tls: TlsFiles | None = None

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.address}"

    def open_channel(self, options: ChannelOptions) -> grpc.Channel:
        """Open a channel for blocking calls.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
        """
        if self.tls is None:
            return grpc.insecure_channel(self.address, options)
        return grpc.secure_channel(self.address, self.tls.channel_credentials(), options)

    def open_async_channel(self, options: ChannelOptions) -> grpc.aio.Channel:
        """Open a channel for the event loop that runs.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
        """
        if self.tls is None:
            return grpc.aio.insecure_channel(self.address, options)
        return grpc.aio.secure_channel(self.address, self.tls.channel_credentials(), options)


def parse_endpoint(
    url: str,
    *,
    tls_ca: FilePath | None = None,
    tls_certificate: FilePath | None = None,
    tls_key: FilePath | None = None,
) -> Endpoint:
    """Return the endpoint of a URL.

    Args:
        url: `"127.0.0.1:8001"`, `"grpc://127.0.0.1:8001"`, `"[::1]:8001"`; `"grpcs://…"` for TLS.
        tls_ca: File in PEM with the certificates of the authorities to trust; None for those that the machine trusts.
        tls_certificate: File in PEM with the client's certificate chain, for a server that asks for one.
        tls_key: File in PEM with the private key of `tls_certificate`.

    Raises:
        InvalidRequest: The URL has no host and port, has another scheme, or is a wildcard address, on which a server
            can listen but cannot be reached. Or the files cannot be used, or are given for a server without TLS.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme not in ("grpc", "grpcs"):
        raise InvalidRequest(
            f"url {url!r}: the scheme {scheme!r} is not supported. Expected host:port, grpc://host:port, or "
            "grpcs://host:port for TLS; the usual ports are 8001 for gRPC and 8000 for HTTP"
        )
    address = _check_address(url, rest if separator else url)
    files = {"tls_ca": tls_ca, "tls_certificate": tls_certificate, "tls_key": tls_key}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    if scheme == "grpcs" and separator:
        tls = TlsFiles(ca=paths.get("tls_ca"), certificate=paths.get("tls_certificate"), key=paths.get("tls_key"))
        tls.ssl_context()  # reads the files
        return Endpoint(address, tls)
    if paths:
        raise InvalidRequest(f"url {url!r} is without TLS, but {', '.join(paths)} is given: use grpcs://{address}")
    return Endpoint(address)


def _check_address(url: str, address: str) -> str:
    parts = _HOST_PORT.fullmatch(address)
    if parts is None:
        raise InvalidRequest(
            f"url {url!r} has no host and port. Expected host:port or grpc://host:port, such as 127.0.0.1:8001 or "
            "[::1]:8001, with nothing after the port"
        )
    host, port = parts["host"], int(parts["port"])
    if not 1 <= port <= 65535:
        raise InvalidRequest(f"url {url!r}: port {port} is outside 1..65535; the usual port for gRPC is 8001")
    if host in _EVERY_INTERFACE:
        raise InvalidRequest(
            f"url {url!r}: on {host} a server listens (on every interface), but a client cannot reach it there. On the "
            f"same machine, use 127.0.0.1:{port}"
        )
    return address
