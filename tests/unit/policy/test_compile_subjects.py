from __future__ import annotations

import pytest

from dnsfw.errors import PolicyError
from dnsfw.model import HOST, NO_ROLE, RoleId, Subject, SubjectKind
from dnsfw.policy.compile import compile_text
from dnsfw.policy.compile_subjects import describe

HEAD = "version: 1\ndefault: deny\nroles:\n"
WEB = RoleId(compile_text(HEAD + "  web: {default: deny}").role_id("web"))


def compiled(*subjects: str) -> tuple[Subject, ...]:
    return compile_text(f"{HEAD}  web: {{subjects: [{', '.join(subjects)}]}}").subjects


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        compile_text(HEAD + text, "p")
    return str(raised.value)


def wrong(subject: str) -> str:
    (line,) = error(f"  web: {{subjects: [{subject}]}}").splitlines()
    return line


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        (
            "{cgroup: /system.slice/nginx.service}",
            SubjectKind.CGROUP,
            "/system.slice/nginx.service",
        ),
        ("{cgroup: /a/}", SubjectKind.CGROUP, "/a"),
        ("{cgroup: nginx.service}", SubjectKind.CGROUP, "nginx.service"),
        ("{cgroup: getty@tty1.service}", SubjectKind.CGROUP, "getty@tty1.service"),
        ("{cgroup: user-1000.slice}", SubjectKind.CGROUP, "user-1000.slice"),
        ("{cgroup: docker-0a1b.scope}", SubjectKind.CGROUP, "docker-0a1b.scope"),
        ("{executable: /usr/sbin/nginx}", SubjectKind.EXECUTABLE, "/usr/sbin/nginx"),
        ("{uid: www-data}", SubjectKind.UID, "www-data"),
        ("{uid: 33}", SubjectKind.UID, "33"),
        ("{uid: '033'}", SubjectKind.UID, "33"),
        ("{gid: machine$}", SubjectKind.GID, "machine$"),
        ("{source: 10.1.0.0/16}", SubjectKind.SOURCE, "10.1.0.0/16"),
        ("{source: 10.1.2.3}", SubjectKind.SOURCE, "10.1.2.3/32"),
        ("{source: 2001:DB8::/32}", SubjectKind.SOURCE, "2001:db8::/32"),
        ("{source: '[2001:db8::1]'}", SubjectKind.SOURCE, "2001:db8::1/128"),
        ("{source: '[2001:db8::]/32'}", SubjectKind.SOURCE, "2001:db8::/32"),
        ("{interface: veth7}", SubjectKind.INTERFACE, "veth7"),
        ("{interface: veth78901234567}", SubjectKind.INTERFACE, "veth78901234567"),
        ("{uid: 4294967294}", SubjectKind.UID, "4294967294"),
        (f"{{executable: /{'a' * 4094}}}", SubjectKind.EXECUTABLE, "/" + "a" * 4094),
    ],
)
def test_a_subject_reads_as_it_is_written(written: str, kind: SubjectKind, value: str) -> None:
    assert compiled(written) == (Subject(WEB, kind, value),)


def test_a_source_may_name_its_interface() -> None:
    (found,) = compiled("{source: 10.1.0.0/16, interface: lan0}")

    assert found == Subject(WEB, SubjectKind.SOURCE, "10.1.0.0/16", "lan0")
    assert describe(found) == "source 10.1.0.0/16 on lan0"


def test_a_via_is_of_host_or_of_the_role_it_names() -> None:
    policy = compile_text(
        HEAD + "  web: {subjects: [{via: eth0}, {role: app, via: eth0}, {role: host, via: eth1}]}\n"
        "  app: {subjects: [{uid: 3}]}"
    )
    app = policy.role_id("app")
    bases = [(s.value, s.base) for s in policy.subjects if s.kind is SubjectKind.VIA]

    assert bases == [("eth0", HOST), ("eth0", app), ("eth1", HOST)]
    assert describe(policy.subjects[0]) == "via eth0 of host"
    assert describe(policy.subjects[1], policy.role_names) == "via eth0 of app"
    assert policy.subjects[3].base == NO_ROLE


def test_subjects_keep_the_order_of_the_file_and_their_places() -> None:
    policy = compile_text(
        HEAD + "  zebra:\n    subjects:\n      - uid: 2\n      - uid: 1\n"
        "  ant:\n    subjects: [gid: 5]\n",
        "p",
    )

    assert [(s.kind.value, s.value) for s in policy.subjects] == [
        ("uid", "2"), ("uid", "1"), ("gid", "5"),
    ]  # fmt: skip
    assert [str(policy.places[s]) for s in policy.subjects] == ["p:6:9", "p:7:9", "p:9:16"]


@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ("{note: x}", "unknown key 'note'; known are cgroup, executable"),
        ("{user: x}", "unknown key 'user'; did you mean 'uid'?"),
        ("{cgruop: /x}", "unknown key 'cgruop'; did you mean 'cgroup'?"),
        ("x", "a subject is keys and values, not 'x'"),
        ("{uid: 1, gid: 1}", "a subject says one thing, not uid and gid; make two subjects"),
        ("{uid: 1, interface: eth0}", "a subject says one thing, not uid and interface"),
        ("{role: web}", "'role' belongs to via; write"),
        ("{role: app, uid: 3}", "'role' belongs to via; write"),
        ("{cgroup: nginx}", "'nginx' is neither a path nor a unit; write '/nginx' or 'nginx.serv"),
        ("{cgroup: a b.service}", "'a b.service' is neither a path nor a unit"),
        ("{cgroup: system.slice/x}", "a cgroup has its whole path; write '/system.slice/x'"),
        ("{cgroup: /}", "'/' is every process: the role 'host'; name one below"),
        ("{cgroup: //}", "every process"),
        ("{cgroup: /a/../b}", "'/a/../b' goes round; write '/b'"),
        ("{cgroup: /docker/*}", "no wildcard here; name the folder around it"),
        ("{cgroup: /sys/fs/cgroup/box}", "is a folder, not a cgroup; write '/box'"),
        ("{cgroup: /sys/fs/cgroup/unified/box}", "write '/box'"),
        ("{cgroup: 5}", "'cgroup' is text, not the number 5; quote it"),
        ("{executable: nginx}", "an executable has its whole path; write '/nginx'"),
        ("{executable: /usr/bin/}", "'/usr/bin/' is a folder; name the file"),
        ('{executable: "/bin/\\u202esh"}', "is no path"),
        ("{uid: -1}", "'-1' is neither a name nor a number; write 'www-data' or 33"),
        ("{uid: 4294967295}", "'4294967295' is no id; ids end at 4294967294"),
        ("{uid: true}", "'uid' is text, not true"),
        ("{gid: a b}", "'a b' is neither a name nor a number"),
        ("{source: lan}", "'lan' is no prefix; write '10.1.0.0/16' or 'fd00::/8'"),
        ("{source: 10.1.2.0/16}", "has bits beyond its length; write '10.1.0.0/16' or '10.1.2.0'"),
        ("{source: 10.1.0.0/33}", "'10.1.0.0/33' is no prefix"),
        ("{source: fe80::1%eth0}", "an address has no zone here; add 'interface: eth0'"),
        ("{source: '::ffff:10.0.0.0/104'}", "is IPv4; write '10.0.0.0/8'"),
        (f"{{executable: /{'a' * 4095}}}", "is no path"),
        ("{source: '::ffff:0:0/96'}", "is IPv4; write '0.0.0.0/0'"),
        ("{interface: veth789012345678}", "a name has at most 15 bytes"),
        ("{interface: eth0/1}", "'eth0/1' is no interface; write its name: 'eth0'"),
        ("{interface: lo}", "'lo' has no guests; what a role reaches there is its 'loopback'"),
        ("{via: lo}", "'lo' has no guests"),
        ("{via: eth0, role: wbe}", "no role is called 'wbe'; known are host"),
        ("{via: eth0, role: web}", "'web' is judged as itself everywhere; name another role"),
        ("{uid: 3}, {uid: 3}", "'uid 3' stands twice, first at p:4:20; take one out"),
    ],
)
def test_what_is_no_subject_is_an_error_with_a_remedy(subject: str, says: str) -> None:
    found = wrong(subject)

    assert says in found
    assert found.startswith("p:4:")


def test_the_base_of_a_via_that_was_mistyped_is_guessed() -> None:
    assert "did you mean 'application'?" in error(
        "  web: {subjects: [{via: eth0, role: aplication}]}\n  application: {default: deny}"
    )


def test_the_same_subject_in_two_roles_names_both_places() -> None:
    found = error("  web: {subjects: [uid: 7]}\n  app:\n    subjects:\n      - uid: '7'")

    assert found == (
        "p:7:9: 'uid 7' is in the role 'web' already, at p:4:20; "
        "a subject has one role: take one out"
    )


def test_a_source_on_an_interface_is_not_the_source_alone() -> None:
    assert len(compiled("{source: 10.0.0.0/8}", "{source: 10.0.0.0/8, interface: lan0}")) == 2


def test_a_unit_and_a_path_that_may_be_the_same_cgroup_are_a_warning() -> None:
    policy = compile_text(
        HEAD + "  web: {subjects: [cgroup: nginx.service]}\n"
        "  app: {subjects: [cgroup: /system.slice/nginx.service]}",
        "p",
    )

    (warning,) = policy.warnings
    assert "may be the unit 'nginx.service' of another role, at p:4:20" in str(warning)


def test_more_users_than_the_kernels_table_holds_are_one_error() -> None:
    many = ", ".join(f"uid: {n}" for n in range(5000))
    found = error(f"  web: {{subjects: [{many}]}}")

    assert len(found.splitlines()) == 1
    assert "more than 4096 users and groups; name the slice, group or prefix" in found
    assert len(compiled(*(f"uid: {n}" for n in range(4096)), "cgroup: /a")) == 4097
    assert "more than 4096" in error(
        f"  web: {{subjects: [{', '.join(f'uid: {n}' for n in range(4096))}, gid: 0]}}"
    ), "users and groups share a table"


def test_files_that_say_their_role_themselves_may_be_of_several_roles() -> None:
    made = compile_text(
        HEAD + "  web: {subjects: [{executable: xattr}]}\n"
        "  jobs: {subjects: [{executable: xattr}]}"
    ).subjects

    assert [(s.kind, s.value) for s in made] == [(SubjectKind.EXECUTABLE, "xattr")] * 2
    assert "stands twice" in error("  web: {subjects: [{executable: xattr}, {executable: xattr}]}")
