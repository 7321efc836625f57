from __future__ import annotations

from dnsfw.cli.assignment_view import assignment_json, assignment_lines
from dnsfw.cli.process_facts import Seen
from dnsfw.policy.compile import compile_text
from dnsfw.policy.subjects import Process, role_of

POLICY = compile_text(
    """version: 1
default: deny
roles:
  web:
    subjects: [cgroup: nginx.service]
  shop:
    subjects: [uid: www-data, cgroup: system.slice]
""",
    "p",
)
WORKER = Seen(
    41,
    "nginx",
    Process("/system.slice/nginx.service", uid=33, gid=33, user="www-data", group="www-data"),
    "/usr/sbin/nginx",
    ("a note",),
)
ORDER = (
    "  order  enrolled > deepest cgroup > executable > uid > gid > longest source",
    "         prefix > interface > host",
)


def test_the_subject_that_decides_the_losers_and_the_order_are_shown() -> None:
    found = role_of(POLICY.subjects, WORKER.facts)

    assert list(assignment_lines(POLICY, WORKER, found)) == [
        "pid 41 (nginx): role web",
        "  by     cgroup nginx.service",
        "         p:5:16",
        "  not    cgroup system.slice: shop",
        "         p:7:31",
        "         the deeper cgroup wins",
        "  not    uid www-data: shop",
        "         p:7:16",
        "         a cgroup comes before a uid",
        *ORDER,
        "  is     cgroup /system.slice/nginx.service",
        "         executable /usr/sbin/nginx",
        "         uid 33 (www-data), gid 33 (www-data)",
        "  note   a note",
    ]


def test_whoever_fits_nothing_is_told_so() -> None:
    seen = Seen(7, "sh", Process("/", uid=1, gid=1))
    found = role_of(POLICY.subjects, seen.facts)

    assert list(assignment_lines(POLICY, seen, found)) == [
        "pid 7 (sh): role host",
        "  by     nothing: no subject fits",
        *ORDER,
        "  is     cgroup /",
        "         executable unknown",
        "         uid 1, gid 1",
    ]


def test_enrolled_by_hand_is_told() -> None:
    seen = Seen(7, "sh", Process("/", uid=1, gid=1, enrolled=POLICY.role_id("web")))
    found = role_of(POLICY.subjects, seen.facts)

    assert list(assignment_lines(POLICY, seen, found))[:2] == [
        "pid 7 (sh): role web",
        "  by     enrolled by hand",
    ]
    assert assignment_json(POLICY, seen, found)["enrolled"] is True


def test_json_says_the_same() -> None:
    found = assignment_json(POLICY, WORKER, role_of(POLICY.subjects, WORKER.facts))

    assert (found["pid"], found["role"], found["enrolled"]) == (41, "web", False)
    assert (found["by"]["kind"], found["by"]["value"]) == ("cgroup", "nginx.service")
    assert [(lost["role"], lost["why"]) for lost in found["lost"]] == [
        ("shop", "the deeper cgroup wins"),
        ("shop", "a cgroup comes before a uid"),
    ]
    assert found["facts"]["user"] == "www-data"
    assert found["order"][0] == "enrolled"
