"""Lists and policies by URL, compiled from their copies."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import load
from dnsfw.policy.copies import Copies, Copy
from dnsfw.policy.remote import POLICY, Remote
from dnsfw.wire.name import from_text

URL = "https://x.example/ads.txt"
HEAD = "version: 1\ndefault: allow\n"


def put(copies: Copies, source: Remote, text: str) -> None:
    with copies.alone():
        scratch = copies.scratch()
        scratch.write_text(text)
        digest = sha256(text.encode()).hexdigest()
        copies.place(scratch, digest)
        copies.propose(source, Copy(source.url, digest, len(text.encode())))
        copies.accept(source)


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path / "state")


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


def test_a_list_by_url_is_read_from_its_copy(tmp_path: Path, copies: Copies) -> None:
    put(copies, Remote(URL), "a.example\nads.example\n")

    policy = load(file(tmp_path, HEAD + f"rules: [{{deny: {{list: '{URL}'}}}}]"), copies=copies)

    judged = policy.host.judge(from_text("ads.example"))
    assert judged.verdict is Verdict.DENY
    assert judged.rule is not None and str(judged.rule.where) == f"{URL}:2:1"
    assert [source.url for source in policy.remotes] == [URL]


def test_a_list_without_a_copy_is_an_error_with_its_remedy(
    tmp_path: Path, copies: Copies
) -> None:
    with pytest.raises(PolicyError, match=r"p.yaml:3:.*no copy of .*`dnsfw check --fetch`"):
        load(file(tmp_path, HEAD + f"rules: [{{deny: {{list: '{URL}'}}}}]"), copies=copies)


def test_an_optional_list_without_a_copy_is_a_warning(tmp_path: Path, copies: Copies) -> None:
    rules = f"rules: [{{deny: {{list: '{URL}', optional: true}}}}]"

    policy = load(file(tmp_path, HEAD + rules), copies=copies)

    assert policy.host.judge(from_text("ads.example")).verdict is Verdict.ALLOW
    assert "the rule says nothing" in str(policy.warnings[0])
    assert policy.remotes[0].optional


def test_a_list_that_one_rule_needs_is_not_optional(tmp_path: Path, copies: Copies) -> None:
    put(copies, Remote(URL), "ads.example\n")
    rules = (
        f"rules: [{{deny: {{list: '{URL}', optional: true}}}}]\n"
        f"roles: {{web: {{default: allow, rules: [{{deny: {{list: '{URL}', ports: '443'}}}}]}}}}"
    )

    policy = load(file(tmp_path, HEAD + rules), copies=copies)

    (source,) = policy.remotes
    assert not source.optional


def test_options_of_a_url_are_not_for_a_file(tmp_path: Path, copies: Copies) -> None:
    with pytest.raises(PolicyError, match="'refresh' is for lists at https"):
        load(file(tmp_path, HEAD + "rules: [{deny: {list: a.txt, refresh: 1h}}]"), copies=copies)


def test_a_ca_is_found_from_the_policys_directory(tmp_path: Path, copies: Copies) -> None:
    put(copies, Remote(URL), "ads.example\n")

    policy = load(
        file(tmp_path, HEAD + f"rules: [{{deny: {{list: '{URL}', ca: ca.pem}}}}]"), copies=copies
    )

    assert policy.remotes[0].ca == str(tmp_path / "ca.pem")


POLICY_URL = "https://x.example/policy.yaml"


def test_a_policy_from_https_names_lists_from_https_only(copies: Copies) -> None:
    source = Remote(POLICY_URL, POLICY)
    put(copies, source, HEAD + "rules: [{deny: {list: /etc/hosts, format: hosts}}]")

    with pytest.raises(PolicyError, match="names no file"):
        load(Path(POLICY_URL), copies=copies)


def test_a_policy_from_https_names_a_ca_by_its_whole_path(copies: Copies) -> None:
    source = Remote(POLICY_URL, POLICY)
    put(copies, source, HEAD + f"rules: [{{deny: {{list: '{URL}', ca: ca.pem}}}}]")

    with pytest.raises(PolicyError, match="whole path"):
        load(Path(POLICY_URL), copies=copies)
