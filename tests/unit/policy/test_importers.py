"""Whose file is it, and what `load` makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict
from dnsfw.policy.compile import load
from dnsfw.policy.files import shipped
from dnsfw.policy.importers import FORMATS, convert, recognize

DATA = Path(__file__).resolve().parents[2] / "data" / "imports"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("blocklist.json", "blocklist"), ("roles.json", "roles"),
        ("seven-roles.json", "roles"), ("endpoints.yaml", "endpoints"),
    ],
)  # fmt: skip
def test_each_example_is_recognized_and_read_as_its_format(file: str, name: str) -> None:
    text = (DATA / file).read_text()

    form = recognize(text)

    assert form is FORMATS[name]
    assert convert(text, file).startswith(f"# Made by `dnsfw import {name}`.")


@pytest.mark.parametrize("path", sorted(shipped().glob("*.yaml")), ids=lambda path: path.name)
def test_a_policy_of_our_own_is_left_as_it_is(path: Path) -> None:
    text = path.read_text()

    assert recognize(text) is None
    assert convert(text, "f") is text


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "default": "deny", "roles": {"web": {"rules": []}}}',
        '{\n  "version": 1,\n  "default": "deny",\n  "roles": {}\n}',
        "version: 1\ndefault: deny\nroles: {endpoints: {}}\n",
        "version: 1\ndefault: deny\n# endpoints:\n",
        "roles: {}\nendpoints_of: x\n",
        "", "{}", "[", "endpoint: x",
    ],
)  # fmt: skip
def test_what_is_not_theirs_is_not_taken_for_it(text: str) -> None:
    assert recognize(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"blocked_ips": [}', "blocklist"), ('\ufeff{"lockdown_mode": tru}', "blocklist"),
        ('// mine\n{"cgroup_enrollments": []', "roles"), ("endpoints:\n  - [\n", "endpoints"),
    ],
)  # fmt: skip
def test_a_broken_file_of_theirs_is_explained_by_their_reader(text: str, name: str) -> None:
    form = recognize(text)

    assert form is not None and form.name == name
    with pytest.raises(PolicyError, match=r"f:\d+:\d+: "):
        convert(text, "f")


def test_a_file_of_which_something_would_be_lost_is_not_put_in_force(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{\n"blocked_ips": ["192.0.2.1"],\n"blocked_countries": ["xx"]\n}')

    with pytest.raises(PolicyError) as caught:
        load(path)

    assert f"{path}:3:" in str(caught.value)
    assert "blocked_countries" in str(caught.value)


def test_load_reads_their_file_as_the_policy_it_means(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text((DATA / "blocklist.json").read_text())
    os.chmod(path, 0o600)  # noqa: PTH101

    policy = load(path)

    assert policy.host.default is Verdict.ALLOW
    assert len(policy.host.rules) == 4
    assert policy.sources == (f"{path} (imported)",)
