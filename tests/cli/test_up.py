"""`dnsfw up`: what the command line means. What it does is in server/test_daemon.py and netns/."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.server import process
from dnsfw.server.options import Options
from tests.support.commands import dnsfw


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    options: list[Options] = []
    monkeypatch.setattr(process, "serve", options.append)
    monkeypatch.setenv("DNSFW_RUN_DIR", "/nowhere")
    return options


def test_without_options_the_policy_says_everything(served: list[Options]) -> None:
    assert dnsfw("up").code == 0
    assert served == [Options(run_dir=Path("/nowhere"))]


def test_every_option_arrives(served: list[Options]) -> None:
    dnsfw(
        "up", "--policy", "p.yaml", "--cgroup", "/x", "--interface", "eth0", "--interface", "eth1",
        "--listen", "127.0.0.1:53", "--upstream", "192.0.2.1", "--upstream", "system",
        "--try", "5m", "--backend", "bcc", "--degraded", "--dns-only", "--run-dir", "/here",
    )  # fmt: skip

    assert served == [
        Options(
            policy="p.yaml",
            cgroup="/x",
            interfaces=("eth0", "eth1"),
            listen=("127.0.0.1:53",),
            upstreams=("192.0.2.1", "system"),
            trial=300,
            backend="bcc",
            degraded=True,
            dns_only=True,
            run_dir=Path("/here"),
        )
    ]


@pytest.mark.parametrize(
    "argv", [["--try", "soon"], ["--try", "0"], ["--backend", "perl"], ["stray"], ["--listen"]]
)
def test_a_wrong_option_is_exit_2(served: list[Options], argv: list[str]) -> None:
    done = dnsfw("up", *argv)

    assert done.code == 2
    assert served == []


def test_a_missing_policy_is_exit_2(tmp_path: Path) -> None:
    done = dnsfw("up", "--policy", str(tmp_path / "none.yaml"), "--run-dir", str(tmp_path / "run"))

    assert done.code == 2
    assert "none.yaml" in done.err


@pytest.mark.parametrize("upstream", ["tls://dns.example", "https://dns.example/dns-query"])
def test_an_encrypted_upstream_that_nobody_can_find_is_exit_2(
    tmp_path: Path, upstream: str
) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\ndefault: deny\nrules: [{allow: a.example}]\n")

    done = dnsfw(
        "up", "--policy", str(policy), "--upstream", upstream, "--run-dir", str(tmp_path / "run")
    )

    assert done.code == 2
    assert "nobody can look up where" in done.err and "#dns.example" in done.err
