"""Asks a server for the names on its standard input, so many times, and prints the last
answers as JSON: what a contest compares before a clock runs.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zone import addresses, query


def main() -> None:
    address, port, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    names = sys.stdin.read().split()
    found: list[tuple[int, tuple[str, ...]]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((address, port))
        for _ in range(times):
            found = []
            for i, name in enumerate(names):
                client.send(query(name, i & 0xFFFF))
                found.append(addresses(client.recv(4096)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
