"""One list in dnsfw, in unbound and in dnsmasq: who refuses a name.

Random entries over few labels, so that they stand at, above and below each other, and names
asked at, above, below and beside each of them. Where dnsfw means to differ, the test says how,
and policies/README.md says it to people.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dnsfw.model import Verdict
from dnsfw.policy.compile import load
from dnsfw.wire.message import read_response
from dnsfw.wire.name import from_text
from dnsfw.wire.reply import write_query
from tests.support.netlab import Lab, Netns, wait_until

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_netns, pytest.mark.needs_peers]

UPSTREAM, SERVER = ("127.0.0.2", 53), ("127.0.0.1", 53)
ADDRESS = bytes((192, 0, 2, 1))
LABELS = ("a", "b", "ab", "c")
SEEDS = range(3)


@pytest.fixture
def net(lab: Lab) -> Iterator[Netns]:
    """A namespace with an upstream that knows an address for every name."""
    made = lab.namespace("alike")
    sock = made.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(UPSTREAM)
    thread = threading.Thread(target=_upstream, args=(sock,), daemon=True)
    thread.start()
    yield made
    with made.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"", UPSTREAM)  # wakes it up to end
    thread.join(5)
    sock.close()


def _upstream(sock: socket.socket) -> None:
    while True:
        asked, peer = sock.recvfrom(4096)
        if not asked:
            return
        end = asked.index(b"\0", 12) + 5
        sock.sendto(
            asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:end]
            + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + ADDRESS, peer,
        )  # fmt: skip


def denies(net: Netns, name: str) -> bool:
    """Whether the server holds the upstream's address of a name back."""
    with net.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect(SERVER)
        client.send(write_query(7, from_text(name), 1))
        reply = read_response(client.recv(4096))
    return [record.rdata for record in reply.answers if record.rtype == 1] != [ADDRESS]


def started(net: Netns, argv: list[str]) -> None:
    net.start(argv)

    def answers() -> bool:
        with suppress(OSError):
            return not denies(net, "nobody.org")
        return False

    wait_until(answers, 20, argv[0])


def unbound(lab: Lab, net: Netns, zone: Path) -> None:
    config = lab.file("unbound.conf", "\n".join([
        "server:", "  interface: 127.0.0.1", "  access-control: 127.0.0.0/8 allow",
        '  username: ""', '  chroot: ""', f'  directory: "{lab.scratch}"', '  pidfile: ""',
        "  use-syslog: no", "  num-threads: 1", '  module-config: "respip iterator"',
        "  do-daemonize: no", "  do-not-query-localhost: no", "  qname-minimisation: no",
        "remote-control:", "  control-enable: no",
        "rpz:", '  name: "rpz.invalid"', f'  zonefile: "{zone}"',
        "forward-zone:", '  name: "."', f"  forward-addr: {UPSTREAM[0]}",
    ]) + "\n")  # fmt: skip
    started(net, ["unbound", "-d", "-c", str(config)])


def dnsmasq(lab: Lab, net: Netns, text: str, *more: str) -> None:
    config = lab.file("dnsmasq.conf", text)
    started(net, [
        "dnsmasq", f"--conf-file={config}", "--no-resolv", "--no-hosts", "--keep-in-foreground",
        "--user=root", "--bind-interfaces", "--listen-address=127.0.0.1", "--pid-file=",
        "--cache-size=0", f"--server={UPSTREAM[0]}", *more,
    ])  # fmt: skip


def judge(lab: Lab, text: str, form: str) -> Callable[[str], bool]:
    """Whether dnsfw denies a name by this list alone."""
    lab.file("list", text)
    policy = lab.file(
        "policy.yaml",
        f"version: 1\ndefault: allow\nrules:\n  - deny: {{list: list, format: {form}}}\n",
    )
    host = load(policy).host
    return lambda name: host.judge(from_text(name)).share(6, 443).verdict is Verdict.DENY


def entries(rng: random.Random, count: int = 14) -> list[str]:
    """Different names of two to four labels."""
    made = {".".join(rng.choices(LABELS, k=rng.randint(1, 3))) + ".example" for _ in range(count)}
    return sorted(made)


def asked(names: list[str], rng: random.Random) -> list[str]:
    """At, above, below and beside each of them."""
    found = set()
    for name in names:
        first, _, rest = name.partition(".")
        found |= {name, f"www.{name}", f"b.a.{name}", f"x{name}", f"x.{rest}", f"{first}a.{rest}"}
        found |= {rest} if "." in rest else set()
    return rng.sample(sorted(found), min(80, len(found)))


def differences(
    net: Netns, names: list[str], dnsfw_denies: Callable[[str], bool]
) -> dict[str, tuple[bool, bool]]:
    """Name → what dnsfw and the server say, where it is not the same."""
    said = {name: (dnsfw_denies(name), denies(net, name)) for name in names}
    assert {True, False} == {mine for mine, _ in said.values()}  # both happen
    return {name: pair for name, pair in said.items() if pair[0] is not pair[1]}


def hidden_from_wildcards(name: str, owners: list[str]) -> bool:
    """Whether a zone holds something at the name, or between it and the next wildcard: there a
    DNS wildcard ends (RFC 4592 section 2.2.1). That of a policy does not.
    """
    nodes = {suffix for owner in owners for suffix in suffixes(owner.removeprefix("*."))}
    closest = next(suffix for suffix in suffixes(name) if suffix in nodes or "." not in suffix)
    return name not in owners and f"*.{closest}" not in owners


def suffixes(name: str) -> list[str]:
    labels = name.split(".")
    return [".".join(labels[at:]) for at in range(len(labels))]


HEAD = "$TTL 60\n$ORIGIN rpz.invalid.\n@ SOA ns. host. 1 3600 600 86400 60\n@ NS ns.\n"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_response_policy_zone_refuses_what_unbound_refuses(
    lab: Lab, net: Netns, seed: int
) -> None:
    rng = random.Random(seed)
    names = entries(rng)
    owners = [rng.choice(("", "*.")) + name for name in names]
    owners += [f"*.{name}" for name in names if name in owners and rng.random() < 0.5]
    action = ("CNAME .", "CNAME *.", "CNAME .", "CNAME rpz-passthru.")
    text = HEAD + "".join(f"{owner} {rng.choice(action)}\n" for owner in owners)
    mine = judge(lab, text, "rpz")
    unbound(lab, net, lab.scratch / "list")

    found = differences(net, asked(names, rng), mine)
    hidden = {name for name in found if hidden_from_wildcards(name, owners)}

    assert set(found.values()) <= {(True, False)}, text  # dnsfw refuses more, never less
    assert set(found) == hidden, text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hosts_file_refuses_what_dnsmasq_does(lab: Lab, net: Netns, seed: int) -> None:
    rng = random.Random(seed)
    names = entries(rng)
    text = "127.0.0.1 localhost\n" + "".join(f"0.0.0.0 {name}\n" for name in names)
    mine = judge(lab, text, "hosts")
    dnsmasq(lab, net, "", f"--addn-hosts={lab.scratch / 'list'}")

    assert differences(net, asked(names, rng), mine) == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_dnsmasqs_own_lines_refuse_what_dnsmasq_does(lab: Lab, net: Netns, seed: int) -> None:
    rng = random.Random(seed)
    names = entries(rng)
    forms = ("local=/{}/", "address=/{}/", "address=/{}/0.0.0.0", "address=/{}/#", "server=/{}/")
    text = "".join(rng.choice(forms).format(name) + "\n" for name in names)
    mine = judge(lab, text, "dnsmasq")
    dnsmasq(lab, net, text)

    assert differences(net, asked(names, rng), mine) == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_filter_list_refuses_what_its_translation_for_dnsmasq_does(
    lab: Lab, net: Netns, seed: int
) -> None:
    rng = random.Random(seed)
    names = entries(rng)
    # An exception below a filter: above one, dnsfw reads it as filters are read (it wins), and
    # dnsmasq lets the longer name win.
    spared = [f"ok.{name}" for name in names if rng.random() < 0.4]
    text = "".join(f"||{name}^\n" for name in names) + "".join(f"@@||{n}^\n" for n in spared)
    mine = judge(lab, text, "adblock")
    dnsmasq(lab, net, "".join(
        [f"local=/{name}/\n" for name in names] + [f"server=/{name}/#\n" for name in spared]
    ))  # fmt: skip

    assert differences(net, asked(names + spared, rng), mine) == {}
