"""The texts of a policy, from its file, its parts and https."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import load
from dnsfw.policy.copies import Copies
from dnsfw.policy.remote import POLICY, Remote
from dnsfw.policy.texts import sources_of
from dnsfw.wire.name import from_text
from tests.unit.policy.test_compile_remote import POLICY_URL, URL, put

WHOLE = "version: 1\ndefault: deny\nrules: [{allow: far.example}]\n"
POINTER = f"version: 1\nremote: {{policy: '{POLICY_URL}', refresh: 1h}}\n"


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path / "state")


def test_a_whole_policy_is_read_from_the_copy_of_its_url(copies: Copies) -> None:
    put(copies, Remote(POLICY_URL, POLICY), WHOLE)

    policy = load(Path(POLICY_URL), copies=copies)

    assert policy.sources == (POLICY_URL,)
    assert policy.host.judge(from_text("far.example")).verdict is Verdict.ALLOW
    rule = policy.host.judge(from_text("far.example")).rule
    assert rule is not None and str(rule.where) == f"{POLICY_URL}:3:17"


def test_a_file_names_a_policy_elsewhere_and_adds_to_it(tmp_path: Path, copies: Copies) -> None:
    put(copies, Remote(POLICY_URL, POLICY), WHOLE)
    path = tmp_path / "policy.yaml"
    path.write_text(POINTER + "rules: [{allow: here.example}]\n")
    (tmp_path / "policy.d").mkdir()
    (tmp_path / "policy.d" / "a.yaml").write_text("rules: [{allow: part.example}]\n")

    policy = load(path, copies=copies)

    for name in ("far.example", "here.example", "part.example"):
        assert policy.host.judge(from_text(name)).verdict is Verdict.ALLOW
    assert [source.refresh for source in policy.remotes] == [3600]


def test_what_both_set_names_both_places(tmp_path: Path, copies: Copies) -> None:
    put(copies, Remote(POLICY_URL, POLICY), WHOLE)
    path = tmp_path / "p.yaml"
    path.write_text(POINTER + "default: allow\n")

    with pytest.raises(PolicyError, match=rf"{POLICY_URL}:2:1: 'default' is set twice.*p.yaml:3"):
        load(path, copies=copies)


def test_without_its_copy_only_that_is_told(tmp_path: Path, copies: Copies) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POINTER)

    with pytest.raises(PolicyError) as caught:
        load(path, copies=copies)

    (line,) = str(caught.value).splitlines()
    assert f"no copy of {POLICY_URL}" in line


@pytest.mark.parametrize("place", ["pointer", "url"])
def test_a_policy_elsewhere_names_no_third_one(
    tmp_path: Path, copies: Copies, place: str
) -> None:
    put(copies, Remote(POLICY_URL, POLICY), WHOLE + "remote: {policy: 'https://y.example/p'}\n")
    path = tmp_path / "p.yaml"
    path.write_text(POINTER)

    with pytest.raises(PolicyError, match="names a policy elsewhere itself"):
        load(path if place == "pointer" else Path(POLICY_URL), copies=copies)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("remote: https://x.example/p", "'remote' is keys and values"),
        ("remote: {polciy: 'https://x.example/p'}", "did you mean 'policy'?"),
        ("remote: {refresh: 1h}", "'policy' is missing"),
        ("remote: {policy: 'http://x.example/p'}", "only https"),
    ],
)
def test_a_wrong_pointer_is_told(tmp_path: Path, copies: Copies, text: str, said: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"version: 1\ndefault: deny\n{text}\n")

    with pytest.raises(PolicyError, match=said.replace("?", r"\?")):
        load(path, copies=copies)


def test_what_a_policy_takes_from_elsewhere_is_known_before_it_is_there(
    tmp_path: Path, copies: Copies
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POINTER)
    assert [source.url for source in sources_of(path, copies)] == [POLICY_URL]

    listed = WHOLE + f"roles: {{web: {{rules: [{{deny: {{list: '{URL}'}}}}]}}}}\n"
    put(copies, Remote(POLICY_URL, POLICY, refresh=3600), listed)
    assert [source.url for source in sources_of(path, copies)] == [POLICY_URL, URL]


def test_a_broken_policy_still_says_what_it_can(tmp_path: Path, copies: Copies) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"version: 1\nrules: [{{deny: {{list: '{URL}'}}}}, {{alow: x}}]\n")

    assert [source.url for source in sources_of(path, copies)] == [URL]
