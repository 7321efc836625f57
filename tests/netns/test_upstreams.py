"""Encrypted upstreams behind the wall: dnsfw's own sockets reach them, and nothing else does."""

from __future__ import annotations

import pytest

from tests.support.certs import NAME, Ca
from tests.support.internet import UNBOUND
from tests.support.netlab import Capture, wait_until
from tests.support.world import World, policy_of

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_bpf, pytest.mark.needs_netns,
    pytest.mark.needs_cgroup, pytest.mark.needs_peers,
]

TLS, HTTPS = 8853, 8443
RULES = [{"allow": "*.example.com:80,443"}]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Ca:
    return Ca(tmp_path_factory.mktemp("ca"))


def encrypted(world: World, ca: Ca, which: str = "good") -> None:
    """An unbound beside the other, which speaks TLS and HTTPS with this certificate."""
    pair = getattr(ca, which)
    config = world.lab.file(f"tls-{which}.conf", "\n".join([
        "server:", f"  interface: {UNBOUND}@{TLS}", f"  interface: {UNBOUND}@{HTTPS}",
        f"  tls-port: {TLS}", f"  https-port: {HTTPS}", f"  tls-service-key: {pair.key}",
        f"  tls-service-pem: {pair.cert}", "  access-control: 0.0.0.0/0 allow",
        '  username: ""', '  chroot: ""', f'  directory: "{world.lab.scratch}"', '  pidfile: ""',
        "  use-syslog: no", '  module-config: "iterator"', "  do-daemonize: no",
        "  do-not-query-localhost: no", '  local-zone: "example." nodefault',
        "remote-control:", "  control-enable: no",
        f"forward-zone:\n  name: .\n  forward-addr: {UNBOUND}",
    ]) + "\n")  # fmt: skip
    netns = world.internet.netns
    netns.start(["unbound", "-d", "-c", str(config)])
    probe = ["openssl", "s_client", "-connect", f"{UNBOUND}:{TLS}", "-brief"]
    wait_until(
        lambda: "CONNECTION ESTABLISHED" in netns.run(probe).stderr, what="unbound over TLS"
    )


def guarded(world: World, ca: Ca, server: str) -> None:
    upstreams = [{"server": server, "ca": str(ca.file)}]
    world.guard(policy_of(RULES, dns={"upstreams": upstreams}), upstreams=())


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    "server", [f"tls://{UNBOUND}:{TLS}#{NAME}", f"https://{UNBOUND}:{HTTPS}/dns-query#{NAME}"]
)
def test_rows_61_and_81_names_go_out_encrypted_and_the_workload_cannot_follow(
    world: World, ca: Ca, server: str
) -> None:
    encrypted(world, ca)
    guarded(world, ca, server)
    wire = Capture(world.host, "eth0")
    assert world.fetches("http://www.example.com/")
    assert world.addresses("one.wild.example.com")
    wire.close()
    assert wire.to(UNBOUND) and not wire.saw(b"\3one\4wild")  # no name leaves in clear

    for port in (TLS, HTTPS, 853, 53):
        assert world.connect(UNBOUND, port) == "EPERM"
    assert world.fetches("http://www.example.com/")  # and the door is still ours


@pytest.mark.usefixtures("answers")
def test_row_81_an_impostor_in_its_place_means_no_answer_and_no_name_told(
    world: World, ca: Ca
) -> None:
    encrypted(world, ca, "own_word")
    guarded(world, ca, f"tls://{UNBOUND}:{TLS}#{NAME}")
    seen = world.dig("www.example.com", kernel=False)  # a failure is no answer to keep

    assert "status: SERVFAIL" in seen and "EDE: 2" in seen  # 22 or 23
    assert not world.internet.asked("www.example.com")
