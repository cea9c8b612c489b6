"""Where servers are and how to connect to them: hosts and ports, with or without TLS, and the way among several."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from rnnserve.client.addresses import FILE, check_addresses, is_one_server, listed_addresses, resolve, target_of
from rnnserve.client.balancing import BALANCINGS, Balancing, service_config
from rnnserve.client.channel import ChannelOptions
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.tls import TlsFiles
from rnnserve.client.token_source import TokenSource, check_way, token_source

__all__ = ["Endpoint", "FilePath", "Servers", "parse_endpoint"]

FilePath = str | os.PathLike[str]
Servers = str | Sequence[str]
"""A URL, which may list several servers, or a list of URLs."""

_NAMES_SECONDS, _FILE_SECONDS = 30.0, 1.0
"""After so long the names among several addresses are looked up again, or a file that lists them is read again."""


@dataclass(frozen=True)
class Endpoint:
    """One server's address, or those of several, and the files for TLS; it can be sent to other processes.

    Attributes:
        address: `host:port`; of several servers, `host:port,host:port`; `file:///path` of a file that lists them.
        tls: Files for TLS; None for servers without TLS.
        balancing: Way in which calls are spread over several servers.
        token: What every call brings; None for nothing.
        insecure: Whether the token may be sent in plain text to other machines.
    """

    address: str
    tls: TlsFiles | None = None
    balancing: Balancing = "round_robin"
    token: TokenSource | None = None
    insecure: bool = False

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The metadata that every call brings."""
        return () if self.token is None else self.token.headers()

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"{'grpcs' if self.tls else 'grpc'}://{self.address}"

    @property
    def addresses(self) -> list[str]:
        """Each `host:port`, or the file that lists them."""
        return self.address.split(",")

    @property
    def is_list(self) -> bool:
        """Whether several addresses are listed, here or in a file: what is no list is gRPC's to look up."""
        return len(self.addresses) > 1 or self.address.startswith(FILE)

    @property
    def look_up_seconds(self) -> float | None:
        """Seconds after which `resolve` may give others, without gRPC noticing; None for never."""
        if self.address.startswith(FILE):
            return _FILE_SECONDS
        has_names = not all(is_one_server([address]) for address in self.addresses)
        return _NAMES_SECONDS if self.is_list and has_names else None

    @property
    def first(self) -> str:
        """The first address, `host:port`.

        Raises:
            Unavailable: If a file that lists them cannot be read, or lists none.
        """
        return listed_addresses(self.addresses)[0]

    def resolve(self) -> list[str]:
        """Look up the names among several addresses; one address is gRPC's to look up, again after each loss.

        Raises:
            InvalidRequest: If a file lists what is no address, or one to which the token may not be sent.
            Unavailable: If nothing is found.
        """
        if not self.is_list:
            return self.addresses
        found = resolve(self.addresses)
        if self.token is not None and self.tls is None and not self.insecure:
            check_way(found)
        return found

    def open_channel(
        self,
        options: ChannelOptions,
        *,
        resolved: Sequence[str] | None = None,
        repeats: bool = False,
        stays: bool = False,
    ) -> grpc.Channel:
        """Open a channel for blocking calls.

        Args:
            options: Options of the channel.
            resolved: The addresses as `resolve` gives them; None to look them up.
            repeats: Whether calls that were lost are sent again.
            stays: Whether all calls go to the first address that answers, whatever `balancing` says.

        Raises:
            InvalidRequest: A file for TLS cannot be read.
            Unavailable: If none of several names is found.
        """
        target, arguments = self._target(options, resolved, repeats=repeats, stays=stays)
        if self.tls is None:
            return grpc.insecure_channel(target, arguments)
        return grpc.secure_channel(target, self.tls.channel_credentials(), arguments)

    def open_async_channel(
        self,
        options: ChannelOptions,
        *,
        resolved: Sequence[str] | None = None,
        repeats: bool = False,
        stays: bool = False,
    ) -> grpc.aio.Channel:
        """Open a channel for the event loop that runs: see `open_channel`."""
        target, arguments = self._target(options, resolved, repeats=repeats, stays=stays)
        if self.tls is None:
            return grpc.aio.insecure_channel(target, arguments)
        return grpc.aio.secure_channel(target, self.tls.channel_credentials(), arguments)

    def _target(
        self, options: ChannelOptions, resolved: Sequence[str] | None, *, repeats: bool, stays: bool
    ) -> tuple[str, ChannelOptions]:
        """Return gRPC's name of the servers, and the options that it needs.

        The name in a certificate is compared with one authority, whichever address answers; without the option it would
        be the whole list, which no certificate has.
        """
        balancing: Balancing = "pick_first" if stays or is_one_server(self.addresses) else self.balancing
        config = service_config(balancing, repeats=repeats, shuffles=stays and not self.is_list)
        options = [*options, ("grpc.service_config", config)]
        if stays:  # of channels that share connections, pick_first takes one that is there before the first in order
            options.append(("grpc.use_local_subchannel_pool", 1))
        if not self.is_list:
            return self.address, options
        return target_of(resolved or self.resolve()), [*options, ("grpc.default_authority", self.first)]


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
    """Return the endpoint of a URL, or of several.

    Args:
        servers: `"127.0.0.1:8001"`, `"grpc://127.0.0.1:8001"`, `"[::1]:8001"`; `"grpcs://…"` for TLS. A name may have
            several addresses in DNS: `"dns:///name:8001"`, or the name alone. Several servers:
            `"10.0.0.1:8001,10.0.0.2:8001"`, or a list of URLs; or a file with such an address a line, which may be
            replaced: `"file:///srv/endpoints"`, with TLS `"grpcs://file:///srv/endpoints"`. With TLS, the certificate
            of each must be valid for the first address.
        tls_ca: File in PEM with the certificates of the authorities to trust; None for those that the machine trusts.
        tls_certificate: File in PEM with the client's certificate chain, for a server that asks for one.
        tls_key: File in PEM with the private key of `tls_certificate`.
        balancing: "round_robin" for calls to every server in turn that reports that it serves; "pick_first" for one
            server at a time, in the order given, the next one after a loss.
        token: Token that every call brings, for a server that asks for one; None for none, or for that of a file.
        token_file: File with the token alone, which is read again as it changes; None for none.
        insecure: Whether the token may be sent without TLS to other machines, where the way to them is safe.

    Raises:
        InvalidRequest: A URL has no host and port, has another scheme, or is a wildcard address, on which a server can
            listen but cannot be reached. Or some URLs are with TLS and some without. Or the files cannot be used, or
            are given for a server without TLS. Or the token cannot be used, or would be sent in plain text.
    """
    if balancing not in BALANCINGS:
        raise InvalidRequest(f"balancing {balancing!r}: expected one of {', '.join(BALANCINGS)}")
    urls = [servers] if isinstance(servers, str) else list(servers)
    if not urls:
        raise InvalidRequest("no server is given: expected host:port, or a list of such")
    listed = [_split_scheme(url) for url in urls]
    if len({is_tls for is_tls, _ in listed}) > 1:
        raise InvalidRequest(f"{', '.join(urls)}: some are with TLS (grpcs://) and some without: use one for all")
    address = ",".join(check_addresses(",".join(urls), [each for _, addresses in listed for each in addresses]))
    files = {"tls_ca": tls_ca, "tls_certificate": tls_certificate, "tls_key": tls_key}
    paths = {name: Path(path) for name, path in files.items() if path is not None}
    source = token_source(token, token_file)
    if listed[0][0]:
        tls = TlsFiles(ca=paths.get("tls_ca"), certificate=paths.get("tls_certificate"), key=paths.get("tls_key"))
        tls.ssl_context()  # reads the files
        return Endpoint(address, tls, balancing, source)
    if paths:
        raise InvalidRequest(f"url {urls[0]!r} is without TLS, but {', '.join(paths)} is given: use grpcs://{address}")
    if (
        source is not None and not insecure and not address.startswith(FILE)
    ):  # what that lists is checked when it is read
        check_way(address.split(","))
    return Endpoint(address, None, balancing, source, insecure)


def _split_scheme(url: str) -> tuple[bool, list[str]]:
    """Whether a URL is with TLS, and what it lists."""
    scheme, separator, rest = url.partition("://")
    if not separator or url.startswith(("dns:///", FILE)):
        return False, url.split(",")
    if scheme not in ("grpc", "grpcs"):
        raise InvalidRequest(
            f"url {url!r}: the scheme {scheme!r} is not supported. Expected host:port, grpc://host:port, or "
            "grpcs://host:port for TLS; the usual ports are 8001 for gRPC and 8000 for HTTP"
        )
    return scheme == "grpcs", rest.split(",")
