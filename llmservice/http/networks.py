"""Networks that a key may be used from, written as CIDR: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.7`."""

import ipaddress
from collections.abc import Collection, Iterable


def parse(texts: Iterable[str]) -> list[str]:
    """These networks in canonical form, without duplicates. Raises ValueError naming an invalid one."""
    return list(dict.fromkeys(_network(text.strip()) for text in texts))


def contain(networks: Collection[str], address: str | None) -> bool:
    """Whether the address is in one of the networks; if there are none, every address is."""
    if not networks:
        return True
    host = _host(address)
    return host is not None and any(host in ipaddress.ip_network(network) for network in networks)


def canonical(address: str | None) -> str | None:
    """The address as the database stores it, without an IPv6 zone; None if it is not an address."""
    host = _host(address)
    return None if host is None else str(host)


def neighbourhood(address: str | None) -> str:
    """What an address is counted under: in IPv6 its /64, since one customer has all of it."""
    host = _host(address)
    if host is None:
        return ""
    return str(host) if host.version == 4 else str(ipaddress.ip_network((host, 64), strict=False))


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"“{text[:64]}” is not an address or a network such as 10.0.0.0/8 or 2001:db8::/32."
        ) from None
    if network.network_address != ipaddress.ip_interface(text).ip:
        raise ValueError(f"“{text[:64]}” is an address within a network: did you mean {network}?")
    return str(network)


def _host(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        host = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(host, ipaddress.IPv4Address):
        return host
    # An IPv4 client of a server that listens on IPv6 is itself. A zone, which is any text, names an interface
    # of this host.
    return host.ipv4_mapped or ipaddress.IPv6Address(int(host))
