"""Where a server is and how to connect to it: host and port, with or without TLS."""

import ipaddress
import os
import re
from collections.abc import Sequence
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
        address: `host:port`; of several servers, `ip:port,ip:port`, in the order in which they are tried.
        tls: Files for TLS; None for a server without TLS.
    """

    address: str
    tls: TlsFiles | None = None

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.address}"

    @property
    def first(self) -> str:
        """The first address, `host:port`."""
        return self.address.partition(",")[0]

    def open_channel(self, options: ChannelOptions) -> grpc.Channel:
        """Open a channel for blocking calls.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
        """
        target, arguments = self._target(options)
        if self.tls is None:
            return grpc.insecure_channel(target, arguments)
        return grpc.secure_channel(target, self.tls.channel_credentials(), arguments)

    def open_async_channel(self, options: ChannelOptions) -> grpc.aio.Channel:
        """Open a channel for the event loop that runs.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
        """
        target, arguments = self._target(options)
        if self.tls is None:
            return grpc.aio.insecure_channel(target, arguments)
        return grpc.aio.secure_channel(target, self.tls.channel_credentials(), arguments)

    def _target(self, options: ChannelOptions) -> tuple[str, Sequence[tuple[str, int | str]]]:
        """Return gRPC's name of the server, and the options that it needs.

        gRPC connects to the first address of a list that answers, and after a loss goes through the list again. The
        name in a certificate is compared with one authority, whichever address answers; without the option it would be
        the whole list, which no certificate has.
        """
        if self.first == self.address:
            return self.address, options
        family = "ipv6" if self.address.startswith("[") else "ipv4"
        return f"{family}:{self.address}", [*options, ("grpc.default_authority", self.first)]


def parse_endpoint(
    url: str,
    *,
    tls_ca: FilePath | None = None,
    tls_certificate: FilePath | None = None,
    tls_key: FilePath | None = None,
) -> Endpoint:
    """Return the endpoint of a URL.

    Args:
        url: `"127.0.0.1:8001"`, `"grpc://127.0.0.1:8001"`, `"[::1]:8001"`; `"grpcs://…"` for TLS. Several servers of
            which one is used at a time, the next one after a loss: `"10.0.0.1:8001,10.0.0.2:8001"`. With TLS, the
            certificate of each must be valid for the first address. A name that has several addresses needs no list.
        tls_ca: File in PEM with the certificates of the authorities to trust; None for those that the machine trusts.
        tls_certificate: File in PEM with the client's certificate chain, for a server that asks for one.
        tls_key: File in PEM with the private key of `tls_certificate`.

    Raises:
        InvalidRequest: The URL has no host and port, has another scheme, or is a wildcard address, on which a server
            can listen but cannot be reached. Or several addresses are not all IPv4, or all IPv6. Or the files cannot be
            used, or are given for a server without TLS.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme not in ("grpc", "grpcs"):
        raise InvalidRequest(
            f"url {url!r}: the scheme {scheme!r} is not supported. Expected host:port, grpc://host:port, or "
            "grpcs://host:port for TLS; the usual ports are 8001 for gRPC and 8000 for HTTP"
        )
    address = _check_addresses(url, rest if separator else url)
    files = {"tls_ca": tls_ca, "tls_certificate": tls_certificate, "tls_key": tls_key}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    if scheme == "grpcs" and separator:
        tls = TlsFiles(ca=paths.get("tls_ca"), certificate=paths.get("tls_certificate"), key=paths.get("tls_key"))
        tls.ssl_context()  # reads the files
        return Endpoint(address, tls)
    if paths:
        raise InvalidRequest(f"url {url!r} is without TLS, but {', '.join(paths)} is given: use grpcs://{address}")
    return Endpoint(address)


def _check_addresses(url: str, addresses: str) -> str:
    listed = [_check_address(url, address.strip()) for address in addresses.split(",")]
    if len(listed) > 1 and not (all(map(_is_ipv4, listed)) or all(address.startswith("[") for address in listed)):
        raise InvalidRequest(
            f"url {url!r}: several addresses are IP addresses of one kind, 10.0.0.1:8001,10.0.0.2:8001. A name may "
            "have several addresses in DNS: then give the name alone"
        )
    return ",".join(listed)


def _is_ipv4(address: str) -> bool:
    try:
        ipaddress.IPv4Address(address.rpartition(":")[0])
    except ValueError:
        return False
    return True


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
