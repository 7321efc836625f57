"""suffix.h against its twin and against the policy: it refuses what the policy refuses."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsfw.datapath import abi
from dnsfw.model import HOST, Name, RoleId
from dnsfw.policy.compile import compile_text
from dnsfw.policy.fingerprints import Image, refuses
from dnsfw.policy.listed_prints import empty
from dnsfw.policy.siphash import hash_name
from dnsfw.wire.name import from_text
from tests.support.prints import (
    DEFAULT,
    KEY,
    ODD,
    PASS,
    Walk,
    complaint,
    image_of,
    odd_name,
    random_policy,
)  # fmt: skip
from tests.support.suffix_kernel import KernelWalk, kernel_walk

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_bpf,
    pytest.mark.skipif(
        shutil.which("clang") is None and "bpf" not in os.environ.get("DNSFW_REQUIRE", ""),
        reason="no clang",
    ),
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelWalk]:
    with kernel_walk(tmp_path_factory.mktemp("walk")) as made:
        yield made


def walk_of(text: str) -> Walk:
    return Walk(image_of(compile_text("version: 1\n" + text)))


def any_name(rng: random.Random) -> Name:
    """A name of random octets, of any length up to the longest."""
    room = rng.choice((20, 60, 64, 66, 254))
    name = b""
    while len(name) < room and rng.random() < 0.9:
        size = min(rng.choice((1, 3, 6, 7, 8, 9, 15, 16, 17, 62, 63)), 253 - len(name))
        if size < 1:
            break
        octets = (rng.choice(b"abcdefghijklmnopqrstuvwxyz0123456789-_.\0\xff") for _ in range(size))
        name += bytes((size,)) + bytes(octets)
    return Name(name + b"\0")


def test_the_kernel_hashes_a_hundred_thousand_names_as_python_does(kernel: KernelWalk) -> None:
    """Each name is found by the walk, with a class of its own, in a table that Python filled."""
    rng = random.Random(7)
    names = list(dict.fromkeys(any_name(rng) for _ in range(100_000)))
    names = [name for name in names if 0 < len_of(name) <= abi.Suffix.LABELS]
    own = [(hash_name(KEY, name), 1 + at % 2000) for at, name in enumerate(names)]
    rows = [abi.Meaning(PASS, PASS, PASS, 0).pack()] + [
        abi.Meaning(10 + at, PASS, PASS, 0).pack() for at in range(1, 2001)
    ]
    kernel.put(Image(empty(KEY, len(own)), own, [HOST], rows, (), zero=False))

    assert len(names) > 60_000
    wrong = [
        name for at, name in enumerate(names) if kernel.ask(name, HOST) != (11 + at % 2000, 0)
    ]
    assert wrong == []


def len_of(name: Name) -> int:
    count = at = 0
    while name[at]:
        count, at = count + 1, at + name[at] + 1
    return count


@pytest.mark.parametrize("seed", range(100, 125))
def test_the_kernel_refuses_what_the_policy_refuses(
    kernel: KernelWalk, seed: int, tmp_path: Path
) -> None:
    """Random policies: never a refusal that the policy does not speak, never another outcome
    than the twin's.
    """
    rng = random.Random(seed)
    policy = random_policy(rng, tmp_path)
    walk = Walk(image_of(policy))
    kernel.put(walk.image)
    denied = passed = 0
    for _ in range(300):
        name = odd_name(rng)
        for role in policy.roles:
            outcome, _ = kernel.ask(name, role)
            expected = walk.outcome(name, role)
            assert (outcome or PASS) == expected, (name, role)
            assert complaint(walk.image, policy, name, role, outcome or PASS) == ""
            if refuses(policy.roles[role]) and not policy.roles[role].judge(name).answered:
                denied += 1
                passed += not outcome
    assert passed <= denied


def test_types_that_are_no_question_and_names_of_addresses_fall_through(
    kernel: KernelWalk,
) -> None:
    walk = walk_of('default: deny\nrules: [allow: "x.com", deny: "*.2.0.192.in-addr.example"]\n')
    kernel.put(walk.image)
    name, listed = from_text("q.com"), from_text("1.2.0.192.in-addr.example")

    for qtype in (0, 41, 128, 249, 250, 251, 252, 255):
        assert kernel.ask(name, HOST, qtype) == (0, 0), qtype
    for qtype in (1, 2, 12, 28, 33, 65, 256, 65535):
        assert kernel.ask(name, HOST, qtype)[0] == (0 if qtype == 12 else DEFAULT), qtype
    assert kernel.ask(listed, HOST, 12)[0] >= abi.Outcome.FIRST


def test_where_a_zero_address_is_told_its_family_counts(kernel: KernelWalk) -> None:
    walk = walk_of('default: allow\nrules: [deny: "x.com"]\ndns: {refuse: zero}\n')
    kernel.put(walk.image)

    kinds = [kernel.ask(from_text("x.com"), HOST, qtype)[1] for qtype in (1, 28, 65)]
    assert kinds == [abi.RefusalKind.A, abi.RefusalKind.AAAA, abi.RefusalKind.ANY]


def test_no_table_another_role_and_a_name_that_is_none_fall_through(kernel: KernelWalk) -> None:
    kernel.put(walk_of('default: deny\nrules: [allow: "x.com"]\n').image)
    name = from_text("evil.example")

    assert kernel.ask(name, HOST)[0] == DEFAULT
    assert kernel.ask(Name(b"\3a\0b\0"), HOST)[0] == ODD
    for role in (0, 2, 17, 255, 256, 1 << 31):
        assert kernel.ask(name, RoleId(role)) == (0, 0), role
    for number in (0, 2, 3, 1 << 31):
        assert kernel.ask(name, HOST, number=number) == (0, 0), number
    bad = (b"\3com\0\0", b"\3com", b"\x40" + b"a" * 64 + b"\0", b"\xc0\x0c\0", b"\3co\0")
    for octets in bad:
        assert kernel.ask(Name(octets), HOST) == (0, 0), octets


def test_what_lies_behind_the_name_does_not_count(kernel: KernelWalk) -> None:
    """The key of a short name is followed by what the last long one left there."""
    kernel.put(walk_of('default: allow\nrules: [deny: "x.com"]\n').image)
    name = from_text("x.com")

    assert kernel.ask(name, HOST)[0] >= abi.Outcome.FIRST
    longer = Name(name + bytes(range(1, 200)))
    assert kernel.ask(Name(longer[:200]), HOST) == (0, 0)  # its length says so


def test_names_with_more_labels_than_are_walked_fall_through(kernel: KernelWalk) -> None:
    kernel.put(walk_of('default: deny\nrules: [allow: "x.com"]\n').image)
    deepest = int(abi.Suffix.LABELS)

    assert kernel.ask(Name(b"\1a" * deepest + b"\0"), HOST)[0] == DEFAULT
    assert kernel.ask(Name(b"\1a" * (deepest + 1) + b"\0"), HOST) == (0, 0)
    assert kernel.ask(Name(b"\0"), HOST)[0] == DEFAULT


def test_the_generation_of_the_table_is_told(kernel: KernelWalk) -> None:
    kernel.put(walk_of('default: deny\nrules: [allow: "x.com"]\n').image, 1, 0xFFFF_FFFE)

    assert kernel.raw(from_text("q.com"), HOST, number=2) >> 32 == 0xFFFF_FFFE
