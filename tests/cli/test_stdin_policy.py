from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.support.commands import dnsfw

GOOD = "version: 1\ndefault: deny\nrules: [allow: x.com]\n"


def pipe(monkeypatch: pytest.MonkeyPatch, data: str | bytes) -> None:
    raw = data.encode() if isinstance(data, str) else data
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))


def test_check_reads_a_policy_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, GOOD)
    done = dnsfw("check", "-")

    assert (done.code, done.out) == (0, "-: ok: default deny, 1 allow, 0 deny\n")


def test_mistakes_have_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, "version: 1\ndefault: dney\n")
    done = dnsfw("check", "-")

    assert done.code == 1
    assert done.err.startswith("<stdin>:2:10: 'default' is")


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (17 << 20)])
def test_what_is_no_text_or_too_much_is_a_mistake(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(monkeypatch, data)
    done = dnsfw("check", "-")

    assert done.code == 1
    assert "<stdin>" in done.err


def test_another_tools_policy_says_whose_lines_are_cited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps({"revision": 1, "blocked_domains": ["bad.example"], "blocked_ips": []})
    file = tmp_path / "blocklist.json"
    file.write_text(text)
    pipe(monkeypatch, text)

    named, piped = dnsfw("check", str(file)), dnsfw("check", "-")

    told = "places are lines of what it means here, which 'dnsfw import"
    assert f"{file}: note: {told} {file}' prints" in named.err
    assert (piped.code, told in piped.err) == (0, True)


def test_diff_takes_one_of_its_policies_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(GOOD.replace("x.com", "y.com"))
    pipe(monkeypatch, GOOD)

    assert dnsfw("diff", "-", str(new)).out == "- allow x.com\n+ allow y.com\n2 changes\n"
    twice = dnsfw("diff", "-", "-")
    assert (twice.code, "- can be read once" in twice.err) == (2, True)
