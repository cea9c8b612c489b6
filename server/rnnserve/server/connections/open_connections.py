"""Which connections of this process are open. gRPC does not tell; the process's sockets do."""

import contextlib
import ctypes
import ipaddress
import os
import struct
import urllib.parse

__all__ = ["OpenConnections"]

_C_LIBRARY = ctypes.PyDLL(None)
"""`PyDLL` keeps Python's lock: these calls take less than a microsecond each, and never wait."""

_SOL_TCP, _TCP_INFO = 6, 11
_ESTABLISHED = 1  # `tcpi_state`, the first byte (linux/tcp.h)
_AF_INET, _AF_INET6 = 2, 10
_IPV4_IN_IPV6 = bytes(10) + b"\xff\xff"

_Address = tuple[bytes, int]  # 16 bytes, IPv4 as IPv6 has it, and the port


class OpenConnections:
    """Says whether a connection is open. For one thread at a time.

    A look at all descriptors takes about a microsecond each, so what it found is kept: of a connection that was open
    once, only its own descriptor is looked at.
    """

    def __init__(self) -> None:
        """Start without having looked."""
        self._descriptors: dict[_Address, int] = {}

    def has(self, peer: str) -> bool:
        """Whether a connection is open: neither side has closed it. True of a name that cannot be read.

        Args:
            peer: The connection's name in gRPC, "ipv4:127.0.0.1:50000" or "ipv6:%5B::1%5D:50000".
        """
        address = _address_of(peer)
        if address is None:
            return True
        if address not in self._descriptors:
            self._descriptors = dict(_connected())
        descriptor = self._descriptors.get(address)
        if descriptor is not None and _peer_of(descriptor) == address:
            return True
        self._descriptors.pop(address, None)
        return False


def _address_of(peer: str) -> _Address | None:
    host, _, port = urllib.parse.unquote(peer.partition(":")[2]).rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if not port.isdecimal():
        return None
    return (_IPV4_IN_IPV6 + address.packed if address.version == 4 else address.packed), int(port)


def _connected() -> list[tuple[_Address, int]]:
    """The addresses of all peers of this process's connections, each with the descriptor."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, of descriptors
        with contextlib.suppress(ValueError):
            address = _peer_of(int(name))
            if address is not None:
                found.append((address, int(name)))
    return found


def _peer_of(descriptor: int) -> _Address | None:
    """The address of a descriptor's peer; None where it is no connection, or no longer open on both sides.

    Without a duplicate of the descriptor: one that is closed meanwhile, and given to another file, names another peer.
    """
    name, size = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
    if _C_LIBRARY.getpeername(descriptor, name, ctypes.byref(size)):
        return None
    state, one = ctypes.create_string_buffer(1), ctypes.c_uint32(1)
    if _C_LIBRARY.getsockopt(descriptor, _SOL_TCP, _TCP_INFO, state, ctypes.byref(one)) or state.raw[0] != _ESTABLISHED:
        return None
    (family,) = struct.unpack_from("=H", name)
    (port,) = struct.unpack_from("!H", name, 2)
    if family == _AF_INET:
        return _IPV4_IN_IPV6 + name.raw[4:8], port
    return (name.raw[8:24], port) if family == _AF_INET6 else None
