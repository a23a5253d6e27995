"""The one client for requests that leave this process: judges, reward endpoints, whatever a user's file names.

A request goes only where it is meant to go. Its host is resolved once, every address is checked and the checked one is
connected to, so that a name cannot point elsewhere the second time; private, loopback and link-local addresses need the
user's word; redirects are never followed, proxies of the environment never used. And it ends: replies are capped while
they are read, compressed ones refused, and no server can drip bytes for longer than the whole request may take.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import httpx2

from bloomery.core.errors import InputError

METADATA = ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fd00:ec2::254/128")
"""Where clouds hand a machine its keys: `private: true` does not open them, only naming the host does."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
NUMERIC = re.compile(r"(0x[0-9a-f]*|\d+)\.?", re.IGNORECASE)

Kind = Literal["refused", "connect", "timeout", "size", "protocol"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


class HttpError(Exception):
    """No usable reply. `refused`: not sent, for where it would have gone; the others: what went wrong on the way.

    `sent` False: the request surely did not arrive.
    """

    def __init__(self, kind: Kind, message: str, sent: bool = True) -> None:
        self.kind, self.sent = kind, sent
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Access:
    """Which addresses may be reached beside public ones."""

    private: bool = False
    """Private and loopback addresses, too; link-local ones never."""
    hosts: tuple[str, ...] = ()
    """Names whose addresses are the user's business, whatever they are."""


@dataclass(frozen=True, slots=True)
class Caps:
    """Seconds and bytes that one request may take."""

    connect: float = 10.0
    read: float = 30.0
    """Longest silence."""
    total: float = 30.0
    body: int = 1 << 20
    """Bytes of a reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def check_url(url: str) -> httpx2.URL:
    """`url` as every part of us reads it. Raises `InputError` for what two parsers could read in two ways."""
    odd = re.search(r"[\x00-\x20\x7f\\]", url)
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError):
        parsed = None
    problem = ""
    if parsed is None or odd:
        problem = "is no address"
    elif parsed.scheme not in ("http", "https"):
        problem = "is neither http nor https"
    elif parsed.userinfo:
        raise InputError("the address carries a user or password", fix="put them in a header: `{env: NAME}`")
    elif not parsed.host:
        problem = "names no host"
    elif NUMERIC.fullmatch(parsed.host.rsplit(".", 1)[-1] or "x") and not _plain(parsed.host):
        problem = "hides its address in an odd notation"
    if problem or parsed is None:
        raise InputError(f"`url: {url[:80]}` {problem}", fix="write it as `https://host/path`")
    return parsed


def _plain(host: str) -> bool:
    try:
        return str(ipaddress.ip_address(host)) == host
    except ValueError:
        return False


def addresses(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system resolves it. Raises OSError."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def allowed(address: str, host: str, access: Access) -> bool:
    """Whether `address`, to which `host` resolved, may be connected to."""
    if host.lower().rstrip(".") in {name.lower().rstrip(".") for name in access.hosts}:
        return True
    real = _embedded(ipaddress.ip_address(address.split("%")[0]))
    if real.is_multicast or real.is_link_local or any(real in net for net in METADATA if net.version == real.version):
        return False
    return real.is_global or access.private


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


@dataclass(frozen=True)
class Http:
    """Sends requests, from any thread. Nothing is kept between two: each is resolved, checked and connected anew."""

    access: Access = Access()
    caps: Caps = Caps()
    resolve: Resolve = addresses

    @cached_property
    def _client(self) -> httpx2.Client:
        return httpx2.Client(
            verify=ssl.create_default_context(),
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """The whole reply, whatever its status. Raises `HttpError`, and `InputError` for an address that is none."""
        target = check_url(url)
        deadline = _Deadline(self.caps.total)
        try:
            return self._send(method, target, headers, body, deadline)
        except HttpError:
            raise
        except httpx2.ConnectTimeout:
            raise HttpError("timeout", f"{target.host} took no connection in {self.caps.connect:g} s", False) from None
        except httpx2.ConnectError as error:
            raise HttpError("connect", f"no connection to {target.host}: {error}", False) from None
        except httpx2.TimeoutException:
            raise HttpError("timeout", f"{target.host} was silent for {self.caps.read:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            if deadline.passed:
                raise HttpError("timeout", f"{target.host} took longer than {self.caps.total:g} s") from None
            kind: Kind = "connect" if isinstance(error, httpx2.NetworkError | OSError) else "protocol"
            said = str(error) or type(error).__name__
            raise HttpError(kind, f"{target.host} broke off: {said[:200]}") from None
        finally:
            deadline.lift()

    def _send(
        self, method: str, target: httpx2.URL, headers: Mapping[str, str], body: bytes, deadline: _Deadline
    ) -> Reply:
        address = self._address(target)
        timeout = httpx2.Timeout(self.caps.read, connect=self.caps.connect)
        request = self._client.build_request(
            method,
            target.copy_with(host=address),
            headers={**headers, "Host": target.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            content=body,
            timeout=timeout,
            extensions={"sni_hostname": target.host, "trace": deadline.watch},
        )
        response = self._client.send(request, stream=True)
        try:
            return Reply(response.status_code, dict(response.headers), self._read(response, target.host, deadline))
        finally:
            response.close()

    def _address(self, target: httpx2.URL) -> str:
        """The address to connect to: the first, once all have passed."""
        port = target.port or (443 if target.scheme == "https" else 80)
        host = target.host
        found = [host] if _plain(host) else _in_time(lambda: self.resolve(host, port), self.caps.connect, host)
        refused = [address for address in found if not allowed(address, host, self.access)]
        if refused or not found:
            where = f"{host} is at {refused[0]}, which is not public" if refused else f"{host} has no address"
            fix = "set `private: true` or list the host under `hosts` if it is yours"
            raise HttpError("refused", f"{where}; {fix}", False)
        return found[0]

    def _read(self, response: httpx2.Response, host: str, deadline: _Deadline) -> bytes:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise HttpError("protocol", f"{host} sent a compressed reply, which was not asked for")
        parts, size = [], 0
        for part in response.iter_raw():
            size += len(part)
            if size > self.caps.body:
                raise HttpError("size", f"{host} sent more than {self.caps.body:,} bytes")
            if deadline.passed:
                raise HttpError("timeout", f"{host} took longer than {self.caps.total:g} s")
            parts.append(part)
        if deadline.passed:  # a reply that ends with its connection looks whole when we end it
            raise HttpError("timeout", f"{host} took longer than {self.caps.total:g} s")
        return b"".join(parts)


class _Deadline:
    """Ends the connection of a request that takes too long, wherever it waits: in its head, its body, its sending.

    A limit on silence does not: a server that sends a byte a second is never silent.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Told by the client of each step; a connection made is one to end."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.passed:
                    self._shut()

    def lift(self) -> None:
        """The request has ended by itself."""
        self._timer.cancel()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # under TLS, too: no goodbye that could wait


def _in_time(work: Callable[[], Sequence[str]], seconds: float, host: str) -> Sequence[str]:
    """`work()`, awaited no longer than `seconds`: resolving a name has no time limit of its own."""
    found: list[Sequence[str]] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0]
    if failed:
        raise HttpError("connect", f"{host} cannot be resolved: {failed[0]}", False)
    raise HttpError("timeout", f"{host} was not resolved in {seconds:g} s", False)
