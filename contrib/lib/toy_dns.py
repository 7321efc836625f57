"""A nameserver of a few lines for quickstart's internet: no DNS server is installed for it."""

from __future__ import annotations

import sys
import threading

from dnslib import QTYPE, RCODE, DNSRecord
from dnslib.server import BaseResolver, DNSServer
from dnslib.zoneresolver import ZoneResolver

ZONE = """
www.example.com.        60 IN A    203.0.113.10
www.example.com.        60 IN AAAA 2001:db8::10
short.example.com.       2 IN A    203.0.113.30
ads.tracker.example.    60 IN A    203.0.113.66
"""


class Resolver(BaseResolver):
    """Says NODATA, not NXDOMAIN, where a name exists without the asked type."""

    def __init__(self) -> None:
        self._zone = ZoneResolver(ZONE)
        self._names = {name for name, _, _ in self._zone.zone}

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        print(f"{request.q.qname} {QTYPE[request.q.qtype]}", flush=True)  # a log of what came
        reply = self._zone.resolve(request, handler)
        if request.q.qname in self._names:
            reply.header.rcode = RCODE.NOERROR
        return reply


class Silent:
    """What dnslib's server would print of every query."""

    def __getattr__(self, _: str) -> object:
        return lambda *_: None


def main(address: str) -> None:
    for tcp in (False, True):
        DNSServer(Resolver(), address=address, port=53, tcp=tcp, logger=Silent()).start_thread()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1])
