"""The network addresses of a webhook, which must be public unless the rules allow private ones.

Someone who may write rules, but not use this machine's network, could otherwise reach what is behind it.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence

from stormcell.errors import ArgumentError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    Raises:
        OSError: The name has no address.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def allowed(host: str, port: int, *, private: bool, resolve: Resolve = resolve) -> list[str]:
    """Return the addresses of a host to connect to.

    One address that is not public refuses the host: the name could lead there at the next attempt.

    Args:
        host: Name or address.
        port: Port.
        private: Whether addresses of this machine or of private networks are allowed.
        resolve: Returns the addresses of a host.

    Raises:
        ArgumentError: An address is not public.
        OSError: The name has no address.
    """
    addresses = list(resolve(host, port))
    for address in addresses:
        if not private and not is_public(ipaddress.ip_address(address.partition("%")[0])):
            raise ArgumentError(
                f"webhook {host}: expected public addresses, or allow_private, found {address}"
            )
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address can be reached from the whole internet.

    Example:
        >>> [is_public(ipaddress.ip_address(text)) for text in ("9.9.9.9", "10.0.0.1", "::ffff:127.0.0.1")]
        [True, False, False]
    """
    inner = _inside(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _inside(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
