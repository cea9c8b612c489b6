"""The addresses of servers: what a URL, or a file, may list, and what gRPC is told of it."""

import ipaddress
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from rnnserve.client.errors import InvalidRequest, Unavailable
from rnnserve.common.regular_files import read_regular

__all__ = ["FILE", "check_addresses", "is_one_server", "listed_addresses", "resolve", "target_of"]

FILE = "file://"
"""What the name of a file begins with that lists servers."""

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]@?#]+):(?P<port>[0-9]{1,5})")
_EVERY_INTERFACE = {"0.0.0.0", "[::]"}  # noqa: S104 - refused below
_DNS = "dns:///"
_MOST_FILE_BYTES = 1 << 20


def check_addresses(url: str, addresses: Sequence[str]) -> list[str]:
    """Check each `host:port`, of which several may be listed; `dns:///host:port` is `host:port`.

    `file:///path` stands alone, for what the file lists whenever it is read.

    Raises:
        InvalidRequest: If one has no host and port, or is a wildcard address, on which a server can listen but cannot
            be reached; or if one is listed twice.
    """
    if any(address.strip().startswith(FILE) for address in addresses):
        return [_check_file(url, addresses)]
    listed = [_check_address(url, address.strip().removeprefix(_DNS)) for address in addresses]
    for at, address in enumerate(listed):
        if address in listed[:at]:
            raise InvalidRequest(f"url {url!r}: {address} is listed twice")
    versions = {_version(address.rpartition(":")[0]) for address in listed}
    if 6 in versions and len(listed) > 1 and versions != {6}:
        raise InvalidRequest(
            f"url {url!r}: several addresses are of one kind, 10.0.0.1:8001,10.0.0.2:8001 or [::1]:8001,[::2]:8001, or "
            "names that have addresses of IPv4"
        )
    return listed


def is_one_server(addresses: Sequence[str]) -> bool:
    """Whether addresses are one that names one server: an IP address, or this machine.

    A name may have several, and a file may list several.
    """
    host = addresses[0].rpartition(":")[0]
    return len(addresses) == 1 and (host == "localhost" or _version(host) is not None)


def listed_addresses(addresses: Sequence[str]) -> list[str]:
    """Give addresses themselves, or those that their file lists just now.

    A file has an address a line; a line that begins with # is a comment.

    Raises:
        InvalidRequest: If the file lists what is no address.
        Unavailable: If the file cannot be read, or lists none.
    """
    if not addresses[0].startswith(FILE):
        return list(addresses)
    path = Path(addresses[0].removeprefix(FILE))
    try:
        text = read_regular(path, _MOST_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise Unavailable(f"{path}, which lists the servers, cannot be read: {said}") from error
    lines = [line.strip() for line in text.splitlines()]
    listed = [line for line in lines if line and not line.startswith("#")]
    if not listed:
        raise Unavailable(f"{path} lists no server just now")
    if any(line.startswith(FILE) for line in listed):
        raise InvalidRequest(f"{path} lists another file: expected host:port, a line each")
    return check_addresses(str(path), listed)


def resolve(addresses: Sequence[str]) -> list[str]:
    """Look the names among several addresses up, for gRPC takes a list of IP addresses only.

    A name that has none just now is left out. A file is read.

    Returns:
        `ip:port` of every server, each once, in the order given; of names those of IPv4, where there are any.

    Raises:
        InvalidRequest: If a file lists what is no address.
        Unavailable: If nothing is found.
    """
    addresses = listed_addresses(addresses)
    found: dict[str, int] = {}
    failed = ""
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            infos = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            failed = failed or f"{host}: {error.strerror or error}"
            continue
        for family, _, _, _, (ip, *_) in infos:
            found.setdefault(f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}", family)
    if not found:
        raise Unavailable(f"no address of {', '.join(addresses)} is found ({failed})")
    kept = [address for address, family in found.items() if family == socket.AF_INET]
    return kept or list(found)


def target_of(resolved: Sequence[str]) -> str:
    """Give gRPC's name of several IP addresses."""
    return f"{'ipv6' if resolved[0].startswith('[') else 'ipv4'}:{','.join(resolved)}"


def _version(host: str) -> int | None:
    """The number of the IP version of a host; None of a name."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).version
    except ValueError:
        return None


def _check_file(url: str, addresses: Sequence[str]) -> str:
    address = addresses[0].strip()
    if len(addresses) > 1 or not address.startswith(f"{FILE}/"):
        raise InvalidRequest(
            f"url {url!r}: a file that lists the servers stands alone, by its whole path, which has no comma: "
            "file:///srv/endpoints"
        )
    return address


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
