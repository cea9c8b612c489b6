"""How to connect to servers: hosts and ports, TLS, token, and load balancing."""

import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from rnnserve.client.channel import BALANCINGS, Balancing, ChannelOptions, service_config
from rnnserve.client.errors import InvalidRequest, Unavailable
from rnnserve.client.tls import TlsFiles
from rnnserve.client.token_source import TokenSource, check_way

__all__ = ["Endpoint", "FilePath", "Servers", "parse_endpoint"]

FilePath = str | os.PathLike[str]
Servers = str | Sequence[str]
"""A URL, which may list several servers, or a list of URLs."""

_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@?#]+):(?P<port>[0-9]{1,5})")
_DNS = "dns:///"


@dataclass(frozen=True)
class Endpoint:
    """The address of one or several servers, with TLS files, load balancing and token. Can be sent to other processes.

    Attributes:
        address: `host:port`, or `host:port,host:port` for several servers.
        tls: Files for TLS, or None for servers without TLS.
        balancing: How calls are distributed over several servers.
        token: The token to send with every call, or None.
    """

    address: str
    tls: TlsFiles | None = None
    balancing: Balancing = "round_robin"
    token: TokenSource | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata that every call sends."""
        return () if self.token is None else self.token.headers()

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.address}"

    @property
    def addresses(self) -> list[str]:
        """Each `host:port`."""
        return self.address.split(",")

    @property
    def is_list(self) -> bool:
        """Whether there are several addresses. A single address is left to gRPC, which looks it up after each loss."""
        return len(self.addresses) > 1

    def resolve(self) -> list[str]:
        """Look up the names in a list of addresses, because gRPC accepts only IP addresses in a list.

        Returns each `ip:port` once, in the given order: the IPv4 addresses, or the IPv6 addresses if there are no
        others. Names without an address are skipped. Raises Unavailable if no name has an address.
        """
        if not self.is_list:
            return self.addresses
        found: dict[str, int] = {}
        failed = ""
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            try:
                infos = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            except OSError as error:
                failed = failed or f"{host}: {error.strerror or error}"
                continue
            for family, _, _, _, (ip, *_) in infos:
                found.setdefault(f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}", family)
        if not found:
            raise Unavailable(f"cannot resolve {', '.join(self.addresses)} ({failed})")
        return [address for address, family in found.items() if family == socket.AF_INET] or list(found)

    def open_channel(
        self,
        options: ChannelOptions,
        resolved: Sequence[str] = (),
        *,
        repeats: bool = False,
        stays: bool = False,
    ) -> grpc.Channel:
        """Open a channel for blocking calls. May raise InvalidRequest, or Unavailable if no name has an address.

        `resolved` are the addresses from `resolve`. With `repeats`, gRPC retries lost calls. With `stays`, all calls go
        to the first address that responds, whatever `balancing` is.
        """
        target, arguments = self._target(options, resolved, repeats=repeats, stays=stays)
        if self.tls is None:
            return grpc.insecure_channel(target, arguments)
        return grpc.secure_channel(target, self.tls.channel_credentials(), arguments)

    def open_async_channel(
        self,
        options: ChannelOptions,
        resolved: Sequence[str] = (),
        *,
        repeats: bool = False,
        stays: bool = False,
    ) -> grpc.aio.Channel:
        """Open a channel for the running event loop. See `open_channel`."""
        target, arguments = self._target(options, resolved, repeats=repeats, stays=stays)
        if self.tls is None:
            return grpc.aio.insecure_channel(target, arguments)
        return grpc.aio.secure_channel(target, self.tls.channel_credentials(), arguments)

    def _target(
        self, options: ChannelOptions, resolved: Sequence[str], *, repeats: bool, stays: bool
    ) -> tuple[str, ChannelOptions]:
        """Return gRPC's target and the options for it."""
        host = self.address.rpartition(":")[0]
        is_one_server = not self.is_list and (host == "localhost" or _ip_version(host) is not None)
        balancing: Balancing = "pick_first" if stays or is_one_server else self.balancing
        options = [*options, ("grpc.service_config", service_config(balancing, repeats=repeats))]
        if stays:  # if connections are shared, pick_first prefers an open one to the first in order
            options.append(("grpc.use_local_subchannel_pool", 1))
        if not self.is_list:
            return self.address, options
        found = resolved or self.resolve()
        # gRPC compares the name in a certificate with a single authority. The default is the whole list, which matches
        # no certificate.
        options.append(("grpc.default_authority", self.addresses[0]))
        return f"{'ipv6' if found[0].startswith('[') else 'ipv4'}:{','.join(found)}", options


def parse_endpoint(
    servers: Servers,
    *,
    tls_ca: FilePath | None = None,
    tls_certificate: FilePath | None = None,
    tls_key: FilePath | None = None,
    balancing: Balancing = "round_robin",
    token: str | None = None,
    token_file: FilePath | None = None,
    insecure: bool = False,
) -> Endpoint:
    """Return the endpoint for a URL or several. The arguments, and when it raises InvalidRequest, are as for `Client`.

    With TLS, the certificate of each server must be valid for the first address.
    """
    if balancing not in BALANCINGS:
        raise InvalidRequest(f"balancing must be one of {', '.join(BALANCINGS)}; got {balancing!r}")
    urls = [servers] if isinstance(servers, str) else list(servers)
    if not urls:
        raise InvalidRequest("no server was passed; expected host:port, or a list of these")
    split = [_split_scheme(url) for url in urls]
    if len({is_tls for is_tls, _ in split}) > 1:
        raise InvalidRequest(f"{', '.join(urls)}: some use TLS (grpcs://) and some do not; use the same scheme for all")
    addresses = _check_addresses(",".join(urls), [address for _, listed in split for address in listed])
    address = ",".join(addresses)
    files = {"tls_ca": tls_ca, "tls_certificate": tls_certificate, "tls_key": tls_key}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    if token is not None and token_file is not None:
        raise InvalidRequest("pass either token or token_file, not both")
    source = None if token is None and token_file is None else TokenSource(token, token_file)
    if split[0][0]:
        tls = TlsFiles(ca=paths.get("tls_ca"), certificate=paths.get("tls_certificate"), key=paths.get("tls_key"))
        tls.ssl_context()  # validates the files
        return Endpoint(address, tls, balancing, source)
    if paths:
        raise InvalidRequest(f"{', '.join(paths)} needs a URL with TLS, grpcs://{address}; got {urls[0]!r}")
    if source is not None and not insecure:
        check_way(addresses)
    return Endpoint(address, None, balancing, source)


def _split_scheme(url: str) -> tuple[bool, list[str]]:
    """Return whether a URL uses TLS, and its addresses."""
    scheme, separator, rest = url.partition("://")
    if not separator or url.startswith(_DNS):
        return False, url.split(",")
    if scheme not in ("grpc", "grpcs"):
        raise InvalidRequest(
            f"url {url!r} has the unsupported scheme {scheme!r}; expected host:port, grpc://host:port, or "
            "grpcs://host:port for TLS. The usual gRPC port is 8001"
        )
    return scheme == "grpcs", rest.split(",")


def _check_addresses(url: str, addresses: Sequence[str]) -> list[str]:
    """Check each `host:port` of a URL, and return them."""
    listed = [address.strip().removeprefix(_DNS) for address in addresses]
    for address in listed:
        parts = _HOST_PORT.fullmatch(address)
        if parts is None:
            raise InvalidRequest(
                f"url {url!r} is not host:port; expected an address such as 127.0.0.1:8001, [::1]:8001 or "
                "grpc://server:8001, without a path"
            )
        if not 1 <= int(parts["port"]) <= 65535:
            raise InvalidRequest(f"url {url!r} has port {parts['port']}; expected 1 to 65535, usually 8001 for gRPC")
    versions = {_ip_version(address.rpartition(":")[0]) for address in listed}
    if 6 in versions and versions != {6}:
        raise InvalidRequest(f"url {url!r} mixes IPv6 addresses with others; list addresses of one kind")
    return listed


def _ip_version(host: str) -> int | None:
    """Return the IP version of a host, or None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).version
    except ValueError:
        return None
