"""Proxies that a connection goes through unread: by CONNECT of HTTP, and by SOCKS 5."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from support.server_threads import in_thread


@dataclass
class Tunnel:
    """A proxy that runs.

    Attributes:
        port: where it listens, on 127.0.0.1.
        targets: where connections went through to, as "host:port".
        credentials: what was sent to log in, as "user:password"; "" for nothing.
    """

    port: int
    targets: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)


class _Handler(socketserver.BaseRequestHandler):
    tunnel: Tunnel

    def handle(self) -> None:
        target = self.opened()
        self.tunnel.targets.append("{}:{}".format(*target))
        with socket.create_connection(target) as server:
            back = threading.Thread(target=_copy, args=(server, self.request))
            back.start()
            _copy(self.request, server)
            back.join()

    def opened(self) -> tuple[str, int]:
        """Where the client wants to, once it is let through."""
        raise NotImplementedError


class ConnectHandler(_Handler):
    """HTTP's."""

    def opened(self) -> tuple[str, int]:
        """Answer one CONNECT."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        credentials = base64.b64decode(_last_word(head, b"Proxy-Authorization: Basic "))
        self.tunnel.credentials.append(credentials.decode())
        assert "authorization" not in headers
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        host, port = first.split(" ")[1].rsplit(":", 1)
        return host, int(port)


class Socks5Handler(_Handler):
    """SOCKS 5 (RFC 1928), without a log-in."""

    def opened(self) -> tuple[str, int]:
        """Answer one greeting and one CONNECT to a name or an IPv4 address."""
        _, methods = self.request.recv(2)
        self.request.recv(methods)
        self.request.sendall(b"\x05\x00")
        *_, kind = self.request.recv(4)
        if kind == 3:
            host = self.request.recv(self.request.recv(1)[0]).decode()
        else:
            host = socket.inet_ntoa(self.request.recv(4))
        port = int.from_bytes(self.request.recv(2), "big")
        self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return host, port


@contextmanager
def tunnel(handler: type[_Handler]) -> Iterator[Tunnel]:
    """A proxy of that kind, until the block ends."""
    bound = type("Bound", (handler,), {})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), bound) as server:
        running = Tunnel(server.server_address[1])
        bound.tunnel = running  # type: ignore[attr-defined]
        with in_thread(server.serve_forever, server.shutdown):
            yield running


def _last_word(head: bytes, name: bytes) -> bytes:
    return head.partition(name)[2].partition(b"\r\n")[0]


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
