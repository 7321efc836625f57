from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.policy.compile import compile_text


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(text, "p")
    return str(raised.value)


@pytest.mark.parametrize(
    ("dns", "says"),
    [
        ("upstreams: [tls://dns.quad9.net]", "nobody can look up where"),
        ("upstreams: [system, system]", "'system' stands twice"),
        ("listen: ['127.0.0.1:53', 127.0.0.1]", "'127.0.0.1' stands twice"),
        ("upstreams: [127.0.53.53]", "is where dnsfw listens"),
    ],
)
def test_dns_settings_that_cannot_be_are_errors(dns: str, says: str) -> None:
    assert says in error(f"version: 1\ndefault: deny\ndns: {{{dns}}}")


def test_takeover_means_every_role() -> None:
    policy = compile_text(
        "version: 1\ndefault: deny\nroles: {web: {default: deny}}\ndns: {takeover: true}"
    )

    assert policy.dns.takeover
    assert all(role.takeover for role in policy.plan().roles)


def test_takeover_is_off_where_nothing_is_said() -> None:
    policy = compile_text("version: 1\ndefault: deny\nroles: {web: {default: deny}}")

    assert not any(role.takeover for role in policy.plan().roles)


def test_the_kernel_answers_unless_it_is_told_not_to() -> None:
    policy = "version: 1\ndefault: deny\nrules: [allow: a.com]\n"

    assert compile_text(policy).dns.kernel_answers
    off = compile_text(policy + "dns: {kernel_answers: off, xdp: [lan0, eth1]}\n").dns
    assert not off.kernel_answers and off.xdp == ("lan0", "eth1")


def test_one_process_answers_unless_more_are_asked_for() -> None:
    policy = "version: 1\ndefault: deny\n"

    assert compile_text(policy).dns.workers == 1
    assert compile_text(policy + "dns: {workers: 4}\n").dns.workers == 4
    assert compile_text(policy + "dns: {workers: auto}\n").dns.workers == 0


@pytest.mark.parametrize("workers", ["0", "65", "-1", "yes", "'2'", "1.5", "[1]", "all"])
def test_what_is_no_number_of_processes_is_said(workers: str) -> None:
    told = error(f"version: 1\ndefault: deny\ndns: {{workers: {workers}}}\n")

    assert "is no number of processes; write 1 to 64, or auto: one a CPU" in told


@pytest.mark.parametrize("names", ["[lan0, lan0]", "['']", "[a/b]", "[lo]", "[abcdefghijklmnop]"])
def test_what_is_no_interface_is_said(names: str) -> None:
    with pytest.raises(PolicyError, match=r"xdp|interface|guests|twice"):
        compile_text(f"version: 1\ndefault: allow\ndns: {{xdp: {names}}}\n")
