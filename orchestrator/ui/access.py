"""Who may ask, and what a browser may do with the answer."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urlsplit

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (  # it carries its scripts inside, and may ask nobody for anything
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """A name or an address that only this machine reaches."""
    if host == "localhost":
        return True
    return (address := _address(host)) is not None and address.is_loopback


class Hosts:
    """The names that a browser may know us by.

    A page elsewhere can have its own name resolved to this machine (DNS rebinding), and would then read what only we
    should; the name in the Host header gives it away.
    """

    def __init__(self, host: str) -> None:
        """host: what we listen on."""
        self._names = {"localhost", host.lower()}
        self._address = _address(host)
        if self._address is not None and self._address.is_unspecified:  # of all of them somebody uses some
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def trusts(self, header: str) -> bool:
        """header: a request's Host."""
        name = name_in(header)
        if name in self._names or is_loopback(name):
            return True
        # a number is no name that anybody could resolve to us
        everywhere = self._address is not None and self._address.is_unspecified
        return everywhere and _address(name) is not None


def name_in(header: str) -> str:
    """The name or address of a Host header; "" of one that is none."""
    with suppress(ValueError):
        return urlsplit(f"//{header}").hostname or ""
    return ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    return None
