"""Programs that the tests run inside a guarded cgroup: each is one small script."""

from __future__ import annotations

# Ask, and connect before anything else can happen; prints failures, retransmissions, pairs.
PAIRS = """
import socket, struct, sys
server, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
TCP_INFO_RETRANS = 100  # offset of tcpi_total_retrans
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.settimeout(5)
dns.connect((server, 53))
failed, resent, done = [], 0, 0
linger = struct.pack("ii", 1, 0)
for index in range(first, first + count):
    label = b"p%d" % index
    query = struct.pack("!HHHHHH", index & 0xffff, 0x100, 1, 0, 0, 0)
    query += bytes([len(label)]) + label + b"\\x05pairs\\x07example\\0\\0\\x01\\0\\x01"
    dns.send(query)
    answer = dns.recv(1500)
    if answer[:2] != query[:2] or answer[6:8] != b"\\0\\x01":
        failed.append((index, "no answer", answer[:12].hex()))
        continue
    address = socket.inet_ntoa(answer[-4:])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        try:
            s.connect((address, 9))
        except OSError as error:
            failed.append((index, address, str(error)))
            continue
        info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        resent += struct.unpack_from("=I", info, TCP_INFO_RETRANS)[0]
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        done += 1
print(done, resent, failed[:5])
"""

# Accepts and closes at once: a web server of threads is too slow for ten thousand SYNs.
DISCARD = """
import socket
s = socket.create_server(("::", 9), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
print("ready")
while True:
    s.accept()[0].close()
"""

# Every millisecond until SIGTERM: a datagram and a SYN to addresses never asked for.
PROBES = """
import signal, socket, sys, time
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
udp = {socket.AF_INET: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
       socket.AF_INET6: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)}
tried = passed = 0
print("ready")
while running:
    for address in sys.argv[1:]:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        tried += 1
        try:
            udp[family].sendto(b"leak", (address, 80))
            passed += 1
        except OSError:
            pass
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setblocking(False)
            try:
                s.connect((address, 80))
                passed += 1
            except BlockingIOError:
                passed += 1
            except OSError:
                pass
    time.sleep(0.001)
print(tried, passed)
"""

# Asks for names one after the other until SIGTERM: the load.
LOAD = """
import signal, socket, struct, sys, time
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dns.settimeout(0.2)
dns.connect((sys.argv[1], 53))
asked = answered = 0
print("ready")
while running:
    label = b"p%d" % (asked % 10000)
    query = struct.pack("!HHHHHH", asked & 0xffff, 0x100, 1, 0, 0, 0)
    query += bytes([len(label)]) + label + b"\\x05pairs\\x07example\\0\\0\\x01\\0\\x01"
    asked += 1
    try:
        dns.send(query)
        dns.recv(1500)
        answered += 1
    except OSError:
        time.sleep(0.001)  # nobody listens just now
print(asked, answered)
"""

# One TCP connection that says something every 20 ms until SIGTERM; prints the longest gap.
TALK = """
import signal, socket, sys, time
running = True
def stop(*_):
    global running
    running = False
signal.signal(signal.SIGTERM, stop)
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM) as s:
    s.settimeout(10)
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("ready")
    longest = exchanged = 0
    try:
        while running:
            began = time.monotonic()
            s.sendall(b"x")
            assert s.recv(1) == b"x"
            longest = max(longest, time.monotonic() - began)
            exchanged += 1
            time.sleep(0.02)
        print("alive", exchanged, round(longest, 3))
    except (OSError, AssertionError) as error:
        print("cut", exchanged, type(error).__name__)
"""

# Echoes TCP on every address of its namespace.
ECHO = """
import socket, sys, threading
def serve(c):
    with c:
        try:
            while data := c.recv(65536):
                c.sendall(data)
        except OSError:
            pass
s = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True,
                         backlog=1024)
print("ready")
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
