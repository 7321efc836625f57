"""The end of quickstart: one command under guard on this host's own network.

    python demo_host.py DNSFW [ALLOWED REFUSED]

Only that command's own cgroup is guarded, for as long as it runs. Left out, with the
reason, where the host has no working resolver or no direct way to the web.
"""

from __future__ import annotations

import subprocess
import sys
import threading

ALLOWED, REFUSED = "example.com", "example.org"  # IANA's, for documentation (RFC 2606)
PATIENCE = 5  # seconds that a working resolver needs at most
_CURL = ["curl", "--silent", "--noproxy", "*", "--max-time", "10", "--output", "/dev/null"]
_CLIENT = """
for name; do
    echo "   curl http://$name/"
    curl -sS --noproxy '*' --max-time 10 -o /dev/null -w '   HTTP %{http_code}\n' "http://$name/"
done
"""


def reaches(name: str) -> bool:
    """Does this host, unguarded, get a web page of that name?"""
    got: list[int] = []

    def ask() -> None:
        got.append(subprocess.run([*_CURL, f"http://{name}/"], check=False).returncode)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return got == [0]


def main(dnsfw: str, allowed: str = ALLOWED, refused: str = REFUSED) -> int:
    print("\nThe same on this host's own network: one command under guard, nobody else\n")
    if not reaches(allowed):
        print(f"   left out: this host cannot look {allowed} up, or not reach it directly")
        return 0
    print(f"   $ sudo dnsfw run --allow {allowed}:80 -- sh -c 'curl …'", flush=True)
    command = [dnsfw, "run", "--allow", f"{allowed}:80", "--"]
    command += ["sh", "-c", _CLIENT, "sh", allowed, refused]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    print(run.stdout, end="")
    for line in run.stderr.splitlines():
        print(f"   {line}")
    good = run.stdout.count("HTTP 200") == 1 and run.returncode != 0
    if not good:
        print("   that is not what was to be shown; `dnsfw doctor` may say why")
        return 3
    unguarded = "passes" if reaches(refused) else "fails too"
    print(f"   $ curl http://{refused}/")
    print(f"   {unguarded}: only that command was guarded")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
