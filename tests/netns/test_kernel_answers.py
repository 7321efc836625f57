"""Repeated questions are answered by the kernel: the same answers, the same promises, and every
moment at which they must not be given any more. Real clients, real connects.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from dnsfw.datapath import links
from dnsfw.datapath.bpf import obj_get
from dnsfw.datapath.syscall import AttachType
from tests.support.netlab import wait_until
from tests.support.roles import forwarding, plug_guest, role, roles_policy
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.needs_netns,
    pytest.mark.needs_cgroup,
    pytest.mark.needs_peers,
]

EXAMPLE = policy_of([{"allow": "*.example.com:80,443"}])
WWW = "www.example.com"
PLAIN = "+short"


def counted(world: World) -> dict[str, int]:
    """What the kernel answered and refused."""
    view = world.daemons[0].show("status")["kernel_answers"]
    return {"answered": view["answered"], "refused": view["refused"]}


def hot(world: World, name: str = WWW, kind: str = "A") -> None:
    """Asked until the kernel answers it."""
    before = sum(counted(world).values())
    for _ in range(4):
        world.dig(name, kind)
    assert sum(counted(world).values()) > before, world.daemons[0].show("status")["kernel_answers"]


def explained(world: World, name: str) -> Any:
    """What `explain` says of the kernel."""
    return world.daemons[0].ask("explain", destination=name)["kernel"]


def test_the_third_ask_is_answered_by_the_kernel_and_says_the_same(world: World) -> None:
    world.guard(EXAMPLE)

    slow = world.dig(WWW, "A")
    hot(world)
    fast = world.dig(WWW, "A")

    assert "status: NOERROR" in fast and "203.0.113.11" in fast
    assert sections(slow) == sections(fast)
    assert world.connect("203.0.113.11") == "OK"


def sections(text: str) -> list[list[str]]:
    """The records, without TTL; flags and the pseudo-section too."""
    kept = [
        line
        for line in text.splitlines()
        if line and not line.startswith((";; ->", ";; Que", "; ("))
    ]
    return [line.split()[:1] + line.split()[2:] for line in kept if not line.startswith(
        (";; WHEN", ";; MSG", "; <<>>", ";; SERVER", ";; global", ";; Got"))]  # fmt: skip


def test_a_refusal_is_the_same_from_the_kernel_with_its_reason_and_soa(world: World) -> None:
    world.guard(EXAMPLE)

    slow = world.dig("evil.example")
    hot(world, "evil.example")
    fast = world.dig("evil.example")

    assert "status: NXDOMAIN" in fast and "EDE: 15" in fast and "SOA" in fast
    assert sections(slow) == sections(fast)
    assert counted(world)["refused"] > 0


def test_every_type_is_answered_over_both_families(world: World) -> None:
    world.guard(EXAMPLE)

    for kind in ("A", "AAAA", "HTTPS"):
        slow = world.dig(WWW, kind)
        hot(world, WWW, kind)
        before = counted(world)["answered"]
        for server in ("127.0.53.53", "::1"):
            assert sections(world.dig(f"@{server}", WWW, kind)) == sections(slow), kind
        assert counted(world)["answered"] == before + 2


def test_glibc_curl_and_python_live_by_answers_of_the_kernel(world: World) -> None:
    world.guard(EXAMPLE)

    for _ in range(3):
        assert "203.0.113.11" in world.run("getent", "ahostsv4", WWW).stdout
        assert world.fetches(f"http://{WWW}/")
    before = counted(world)["answered"]
    assert world.fetches(f"http://{WWW}/")
    assert counted(world)["answered"] > before


def test_what_is_not_plain_goes_to_the_daemon_and_is_answered_there(world: World) -> None:
    world.guard(EXAMPLE)
    hot(world)
    before = counted(world)

    for option in ("+cookie", "+tcp", "+nsid", "+norec", "+subnet=192.0.2.0/24", "+padding=128"):
        assert "status: " in world.dig(option, WWW), option

    assert counted(world) == before


@pytest.mark.one_way("it is about the kernel's answers alone")
def test_row_113_after_a_reload_no_answer_of_the_old_policy_is_given(world: World) -> None:
    """Promise 2: from the moment in which `reload` returns."""
    daemon = world.guard(EXAMPLE)
    hot(world)
    hot(world, "evil.example")

    done = daemon.reload(policy_of([{"allow": "evil.example"}]))
    assert done.returncode == 0, done.stderr
    seen = world.dig(WWW)

    assert "status: NXDOMAIN" in seen
    assert world.connect("203.0.113.11") == "EPERM"
    assert "EDE: 15" not in world.dig("evil.example")


def test_a_lockdown_silences_the_kernel_too(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    hot(world)

    assert daemon.command("lockdown", "on").returncode == 0
    assert "status: REFUSED" in world.dig(WWW)
    assert daemon.command("lockdown", "off").returncode == 0
    assert "status: NOERROR" in world.dig(WWW)


def test_switched_off_every_question_comes_to_the_daemon(world: World) -> None:
    daemon = world.guard(policy_of([{"allow": "*.example.com"}], dns={"kernel_answers": "off"}))
    for _ in range(4):
        assert world.addresses(WWW) == ["203.0.113.11"]
    assert daemon.show("status")["kernel_answers"]["on"] is False
    assert "answer_lo" not in world.host.run(["bpftool", "net"]).stdout

    assert daemon.reload(EXAMPLE).returncode == 0
    hot(world)
    assert daemon.show("status")["kernel_answers"]["where"] == ["lo egress (tcx)"]


def test_row_48_answers_go_on_while_the_daemon_is_dead_and_over_its_restart(
    world: World,
) -> None:
    """0 failures, and every answer is open; what was never asked waits for the next daemon."""
    daemon = world.guard(EXAMPLE)
    hot(world)
    hot(world, "evil.example")
    daemon.noted()
    asker = world.start_python(
        "import socket, sys, time\n"
        "end, bad, n = time.monotonic() + 6, 0, 0\n"
        "print('begun', flush=True)\n"
        "while time.monotonic() < end:\n"
        "    try:\n"
        "        addr = socket.gethostbyname('www.example.com')\n"
        "        socket.create_connection((addr, 80), 2).close()\n"
        "    except OSError as error:\n"
        "        bad += 1; print(error, flush=True)\n"
        "    n += 1; time.sleep(0.005)\n"
        "print('failures', bad, 'of', n)\n"
    )
    assert asker.stdout is not None and asker.stdout.readline() == "begun\n"
    time.sleep(1)
    daemon.kill()
    assert "203.0.113.11" in world.dig(WWW)
    assert "status: NXDOMAIN" in world.dig("evil.example")
    daemon.start()
    held = daemon.show("status")["kernel_answers"]["held"]

    said = asker.communicate(timeout=20)[0]
    assert "failures 0 of" in said, said
    assert sum(held.values()) >= 1  # taken over, not asked anew


def test_a_restart_under_another_policy_keeps_none(world: World) -> None:
    daemon = world.guard(EXAMPLE)
    hot(world)
    daemon.noted()
    daemon.kill()
    daemon.policy.write_text(policy_of([{"allow": "other.example"}]))
    daemon.start()

    assert "status: NXDOMAIN" in world.dig(WWW)


def test_an_answer_ends_on_time_without_a_daemon(world: World) -> None:
    """Promise 3 of answers: the kernel's clock, and nobody to ask."""
    daemon = world.guard(policy_of([{"allow": "*.example.com", "ttl": {"min": "5s", "max": "6s"}}]))
    hot(world)
    daemon.kill()
    assert "203.0.113.11" in world.dig(WWW)

    wait_until(lambda: "203.0.113.11" not in world.dig("+timeout=1", WWW), 10)


def test_the_program_on_lo_is_put_back_and_nothing_is_left_after_down(world: World) -> None:
    """Row 44 of answers: somebody takes it away; questions come to the daemon meanwhile."""
    daemon = world.guard(EXAMPLE)
    hot(world)
    (pin,) = (world.lab.bpffs() / "dnsfw").rglob("tcx_*_1_egress")
    link = obj_get(pin)
    links.link_detach(link)
    os.close(link)

    assert world.addresses(WWW) == ["203.0.113.11"]
    wait_until(lambda: daemon.show("status")["tamper"]["count"], 10)
    hot(world)
    daemon.signal(signal.SIGINT)

    with world.host.entered():
        assert links.prog_query(1, AttachType.TCX_EGRESS) == ()
    assert daemon_pins(world) == []


def daemon_pins(world: World) -> list[str]:
    where = world.lab.bpffs() / "dnsfw"
    return sorted(p.name for p in where.rglob("*")) if where.exists() else []


def test_a_name_in_use_is_never_missed_and_its_new_address_is_open_first(world: World) -> None:
    """Prefetch: with a TTL of a few seconds a busy name is asked for anew before it ends."""
    daemon = world.guard(policy_of([{"allow": "*.example.com", "ttl": {"min": "5s", "max": "5s"}}]))
    hot(world)
    misses = daemon.show("status")["kernel_answers"]["passed_on"]

    end = time.monotonic() + 11
    while time.monotonic() < end:
        assert world.addresses(WWW) == ["203.0.113.11"]
        time.sleep(0.1)

    view = daemon.show("status")["kernel_answers"]
    late = {why: n for why, n in view["passed_on"].items() if why in ("miss", "expired")}
    before = {why: n for why, n in misses.items() if why in ("miss", "expired")}
    assert late == before and view["renewed"] >= 2


def test_names_that_were_never_asked_for_are_refused_by_the_kernel(world: World) -> None:
    """Refusals of a list and of the default, the same as the daemon's; exceptions come to it."""
    rules = [{"allow": "*.example.com"}, {"deny": "bad.example.com"}]
    daemon = world.guard(policy_of(rules))
    slow = {n: world.dig("+tcp", n) for n in ("x.evil.example", "bad.example.com")}
    wait_until(lambda: daemon.show("status")["kernel_answers"]["suffixes"], 10)
    before = counted(world)["refused"]

    for name, said in slow.items():
        assert sections(world.dig(name)) == sections(said), name
    for n in range(5):
        assert "status: NXDOMAIN" in world.dig(f"r{n}.nobody.example")
    assert counted(world)["refused"] == before + 7
    assert world.addresses(WWW) == ["203.0.113.11"]
    assert explained(world, "r0.nobody.example")["unasked"]
    hot(world)
    assert [row["type"] for row in explained(world, WWW)["held"]] == ["A"]

    assert (
        daemon.reload(policy_of([{"allow": ["*.example.com", "*.evil.example"]}])).returncode == 0
    )
    assert "EDE: 15" not in world.dig("x.evil.example")
    assert "status: NXDOMAIN" in world.dig("r9.nobody.example")
    assert daemon.show("status")["kernel_answers"]["suffixes"]


_FORWARDER = (
    "import socket, time\n"
    "mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "mine.bind(('127.0.0.9', 5353))\n"
    "print('bound', flush=True)\n"
    "while True:\n"
    "    wire, peer = mine.recvfrom(4096)\n"
    "    time.sleep(0.4)\n"
    "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(wire, ('127.0.53.53', 53))\n"
)


def test_an_upstream_that_asks_us_is_noticed_though_the_kernel_refuses_names(
    world: World,
) -> None:
    """The name that goes round is one that no rule allows: it must still come to the daemon."""
    forwarder = world.start_python(_FORWARDER)
    assert forwarder.stdout is not None and forwarder.stdout.readline() == "bound\n"

    with pytest.raises(AssertionError, match=r"exit 2(.|\n)*asks dnsfw itself"):
        world.guard(EXAMPLE, upstreams=("127.0.0.9:5353",))


@pytest.mark.parametrize("how", ["tc", "xdp"])
def test_guests_of_a_link_are_answered_there_each_by_its_own_role(world: World, how: str) -> None:
    """At the host's end of a veth, or before the stack of its device (generic XDP on a veth)."""
    forwarding(world)
    a, b = plug_guest(world, 1), plug_guest(world, 2)
    policy = roles_policy(
        web=role([{"interface": a.device}]),
        db=role([{"interface": b.device}], [{"allow": "other.example"}]),
    )
    if how == "xdp":
        policy = json.dumps({**json.loads(policy), "dns": {"xdp": [a.device, b.device]}})
    daemon = world.guard(policy, listen=("127.0.53.53:53", f"{a.gateway}:53", f"{b.gateway}:53"))
    where = daemon.show("status")["kernel_answers"]["where"]
    assert (f"{a.device} xdp (xdp)" in where) is (how == "xdp")

    for guest, said in ((a, "203.0.113.11"), (b, "")):
        for _ in range(4):
            seen = guest.workload.run("dig", "+time=2", "+tries=1", "+nocookie", "+short", WWW)
            assert seen.split() == said.split()
        row = next(r for r in daemon.show("status")["roles"] if guest.device in r["hooks"])
        assert sum(row["by_kernel"].values()) >= 2, row
    assert a.workload.reaches() and not b.workload.reaches()

    assert daemon.reload(policy.replace(f"{WWW}:80", "nothing.example")).returncode == 0
    assert a.workload.looks_up() == []
    daemon.signal(signal.SIGINT)
    assert "xdp" not in world.host.run(["ip", "link", "show", "dev", a.device]).stdout


@pytest.mark.needs_vlans
@pytest.mark.one_way("it is about the kernel's answers alone")
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_row_20_who_is_in_a_vlan_of_an_xdp_device_is_not_who_is_behind_the_device(
    world: World, when: str
) -> None:
    """No program before the stack sees a tag that lies beside the frame."""
    forwarding(world)
    a = plug_guest(world, 1)
    vlan, address = f"{a.device}.7", "10.55.0.1"
    policy = json.loads(roles_policy(
        web=role([{"interface": a.device}]),
        db=role([{"interface": vlan}], [{"allow": "other.example"}]),
    ))  # fmt: skip

    def add_vlan() -> None:
        for netns, name, mine in ((world.host, a.device, address), (a.netns, "eth0", "10.55.0.2")):
            made = netns.run(f"ip link add link {name} name {name}.7 type vlan id 7".split())
            assert not made.returncode, made.stderr
            netns.ip(f"addr add {mine}/24 dev {name}.7")
            netns.ip(f"link set {name}.7 up")

    def asked(server: str) -> str:
        return a.netns.run(["dig", f"@{server}", "+time=2", "+tries=1", "+nocookie", WWW]).stdout

    if when == "before":
        add_vlan()
    world.host.sysctl("net.ipv4.ip_nonlocal_bind", 1)
    daemon = world.guard(
        json.dumps({**policy, "dns": {"xdp": [a.device]}}),
        listen=("127.0.53.53:53", f"{a.gateway}:53", f"{address}:53"),
    )
    if when == "meanwhile":
        for _ in range(4):
            assert "203.0.113.11" in asked(a.gateway)
        add_vlan()
        wait_until(lambda: not xdp_on(world, a.device), 5)

    for _ in range(6):
        assert "203.0.113.11" in asked(a.gateway)
        assert "status: NXDOMAIN" in asked(address)
    shown = daemon.show("status")["kernel_answers"]
    assert any(f"{a.device} xdp" in line and vlan in line for line in shown["missing"]), shown

    world.host.ip(f"link del {vlan}")
    wait_until(lambda: xdp_on(world, a.device), 5)


def xdp_on(world: World, device: str) -> bool:
    return "xdp" in world.host.run(["ip", "link", "show", "dev", device]).stdout


def test_takeover_and_doors_in_a_container_are_answered_on_its_own_lo(world: World) -> None:
    """The server that was asked still answers, as far as anybody can see."""
    daemon = world.guard(policy_of([{"allow": "*.example.com"}], dns={"takeover": True}))
    for _ in range(4):
        seen = world.dig("@9.9.9.9", WWW)
        assert "203.0.113.11" in seen and "SERVER: 9.9.9.9#53" in seen
    assert counted(world)["answered"] > 0
    assert daemon.show("status")["takeover"]["namespaces"] == 1


def test_a_flood_of_names_made_up_at_random_leaves_the_table_as_it_was(world: World) -> None:
    """Row 106 of answers: what is asked once is never published."""
    daemon = world.guard(EXAMPLE)
    hot(world)
    before = daemon.show("status")["kernel_answers"]["held"]

    world.python(
        "import socket\n"
        "for n in range(300):\n"
        "    try: socket.gethostbyname(f'r{n}.wild.example.com')\n"
        "    except OSError: pass\n"
    )

    assert daemon.show("status")["kernel_answers"]["held"] == before
