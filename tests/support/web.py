"""A web server on every address of its namespace, v4 and v6: run it as a program.

`/` says which address and port were reached. `/slow?seconds=8` sends a line every
tenth of a second and `done` at the end: a download that outlives a TTL. UDP to the
same ports is echoed.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_TICK = 0.1  # seconds between two lines of a slow download


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        if url.path == "/slow":
            until = time.monotonic() + float(parse_qs(url.query)["seconds"][0])
            while time.monotonic() < until:
                self.wfile.write(b"tick\n")
                time.sleep(_TICK)
            self.wfile.write(b"done\n")
            return
        address, port = self.connection.getsockname()[:2]
        self.wfile.write(f"hello from {address.removeprefix('::ffff:')} port {port}\n".encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests look at what the client got."""


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1024

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(self.server_address)


_IP_PKTINFO = 8


def echo(family: int, port: int) -> None:
    """Send every datagram back, from the address that it was sent to."""
    level, option = (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO)
        if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_PKTINFO)
    )
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(level, option, 1)
        server.bind(("", port))
        while True:
            data, ancillary, _, sender = server.recvmsg(65535, 256)
            reply = []
            for of, kind, info in ancillary:
                if family == socket.AF_INET6:
                    reply.append((of, kind, info[:16] + bytes(4)))
                else:  # struct in_pktinfo: interface, source of the reply, destination
                    reply.append((of, kind, bytes(4) + info[8:12] + bytes(4)))
            server.sendmsg([data], reply, 0, sender)


def main(ports: list[int]) -> None:
    for port in ports:
        web = Server(("::", port), Page)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        for family in (socket.AF_INET, socket.AF_INET6):
            threading.Thread(target=echo, args=(family, port), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
