"""The kernel seam over the real wall: hooks, maps, events and probes of this host."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path

from dnsfw.datapath import abi, attach, cgroup, devices, mounts
from dnsfw.datapath.answers import AnswerTable, map_dns
from dnsfw.datapath.askers import Askers, has_asked
from dnsfw.datapath.attach import Wall, WallConfig
from dnsfw.datapath.backend import Backend
from dnsfw.datapath.doors import Doors
from dnsfw.datapath.events import AskedEvents, Events
from dnsfw.datapath.hooks import HookState, answers
from dnsfw.datapath.libbpf import LibbpfBackend
from dnsfw.datapath.listeners import Listener
from dnsfw.datapath.news import News
from dnsfw.datapath.own import OwnSockets, own_of
from dnsfw.datapath.probe import self_test
from dnsfw.datapath.refusals import RefusalTable
from dnsfw.datapath.resolve import Host, Resolver
from dnsfw.datapath.sink import KernelSink
from dnsfw.datapath.sockdiag import Connection, connections, destroy
from dnsfw.datapath.standing import RECORD
from dnsfw.datapath.subjects import Subjects
from dnsfw.datapath.suffix_build import Filler
from dnsfw.errors import ConfigError, DatapathError
from dnsfw.model import Addr, Rank, RoleId, Subject, SubjectKind, addr_from
from dnsfw.policy.policy import DnsSettings, Policy
from dnsfw.server.address import Endpoint
from dnsfw.server.clock import boot_now
from dnsfw.server.kernel import AskedSource, EventSource, Fill, Hook, Kernel, Relabel, Repair
from dnsfw.server.older import describe, flow_of, sort_changed, sort_older
from dnsfw.server.options import Options
from dnsfw.server.ownership import Ownership

__all__ = ["KernelWall", "open_wall", "pin_dir", "remove_wall", "standing_own"]

_LOOK_AGAIN = 5.0  # seconds; every change that matters is told at once
_EVERYWHERE = Addr(bytes(16))  # a wildcard bind, in the listeners table


def pin_dir(options: Options) -> Path:
    """Where the wall is pinned: $DNSFW_PIN_DIR, else below the BPF file system."""
    named = options.pin_dir or os.environ.get("DNSFW_PIN_DIR")
    return Path(named).absolute() if named else mounts.bpffs() / "dnsfw"


def remove_wall(options: Options) -> bool:
    """Take down what an ended daemon left. False if there was nothing; no daemon is needed."""
    named = options.pin_dir or os.environ.get("DNSFW_PIN_DIR")
    if not named and mounts.where(mounts.BPFFS) is None:
        return False  # and no reason to mount it
    (options.run_dir / RECORD).unlink(missing_ok=True)
    return attach.remove(pin_dir(options))


def standing_own(options: Options) -> Callable[[int], None] | None:
    """Marks a socket as the daemon's for the wall that stands; None where none can be."""
    found = own_of(pin_dir(options) / f"abi{int(abi.Abi.VERSION)}")
    return None if found is None else found.mark


def open_wall(options: Options, policy: Policy, fill: Fill) -> Kernel:
    """Build the wall, or adopt the one that stands. `fill` gets it before the hooks judge."""
    made: list[KernelWall] = []

    def prepare(wall: Wall) -> None:
        whole_host = _guards_host(options)
        made.append(KernelWall(wall, config, every_device=whole_host, answers=options.answers))
        fill(made[0])

    config = _config(options, policy)
    check_dns(policy, config)
    Wall.open(config, prepare)
    return made[0]


def _guards_host(options: Options) -> bool:
    return options.cgroup is None and not options.interfaces


def _config(options: Options, policy: Policy) -> WallConfig:
    whole_host = _guards_host(options)
    top = cgroup.root() if whole_host else None
    guarded = cgroup.find(options.cgroup) if options.cgroup is not None else top
    return WallConfig(
        backend=_backend(options.backend, options.without, policy.tables),
        pin_dir=pin_dir(options),
        cgroup=guarded,
        interfaces=every_device() if whole_host else options.interfaces,
        only_netns=whole_host and not policy.containers,
        degraded=options.degraded or policy.degraded,
        answers=options.answers and policy.dns.kernel_answers,
        elsewhere=options.elsewhere,
        record=None if options.without else options.run_dir / RECORD,
        xdp=policy.dns.xdp if options.answers and policy.dns.kernel_answers else (),
    )


def check_dns(policy: Policy, config: WallConfig) -> None:
    """ConfigError for what `dns:` wants of a wall that has no place for it."""
    if config.cgroup is None and policy.dns.takeover:
        raise ConfigError(
            "dns.takeover rewrites at the sockets, and --interface alone guards none; "
            "remedy: --cgroup PATH beside it, or point resolv.conf at dnsfw"
        )
    guests = (s.value if s.kind is SubjectKind.INTERFACE else s.interface for s in policy.subjects)
    for name in sorted({*policy.dns.xdp} - {*guests}) if policy.dns.kernel_answers else ():
        raise ConfigError(
            f"dns.xdp names {name}, where no role has its guests; remedy: "
            f"subjects: [{{interface: {name}}}] in a role"
        )


def check_reach(subjects: Iterable[Subject], config: WallConfig, *, every_device: bool) -> None:
    """ConfigError for a subject that no hook of this wall could tell: its role would be `host`
    without a word.
    """
    for subject in subjects:
        kind, value = subject.kind, subject.value
        if kind is SubjectKind.VIA and not every_device and value not in config.interfaces:
            raise ConfigError(
                f"the policy judges what leaves by {value} (via), which is not guarded; "
                f"remedy: --interface {value}"
            )
        if kind in (SubjectKind.UID, SubjectKind.GID) and config.cgroup is None:
            raise ConfigError(
                f"{kind.value} {value}: a socket's user is seen by cgroup hooks alone; "
                "remedy: --cgroup PATH, beside --interface"
            )


def _backend(
    name: str, without: frozenset[str] = frozenset(), tables: Mapping[str, int] | None = None
) -> Backend:
    sizes = {f"dnsfw_{table}": most for table, most in (tables or {}).items()}
    if name == "bcc" and sizes:
        raise ConfigError(
            "`tables` of the policy: BCC compiles them as they are; remedy: --backend libbpf"
        )
    if name == "bcc":
        from dnsfw.datapath.bcc import BccBackend  # 120 MB of compiler: only who asks pays

        return BccBackend()
    return LibbpfBackend(without=without, sizes=sizes)


def _filler() -> Filler | None:
    """What fills large tables of refusals; without it Python refuses their names."""
    try:
        return Filler()
    except DatapathError:
        return None


def every_device() -> tuple[str, ...]:
    """Loopback is not guarded: what it carries is judged at the sockets."""
    return devices.guardable()


class KernelWall:
    """`Kernel` over a `Wall`."""

    enforcing = True
    marks = True

    def __init__(
        self, wall: Wall, config: WallConfig, *, every_device: bool, answers: bool = False
    ) -> None:
        self.sink = KernelSink(wall.maps)
        events = wall.maps["dnsfw_events"]  # of the size that it was made with
        self.events: EventSource | None = Events(events.fd, events.max_entries)
        self.asked: AskedSource | None = None
        self.answers: AnswerTable | None = None
        self.refusals: RefusalTable | None = None
        if answers:
            dns = map_dns(wall.maps["dnsfw_dns"])
            self.answers = AnswerTable(wall.maps, dns)
            if (suffixes := wall.maps.get("dnsfw_suffixes")) is not None:
                refused = wall.maps["dnsfw_refused"]
                self.asked = AskedEvents(refused.fd, refused.max_entries)
                if not config.elsewhere:
                    self.refusals = RefusalTable(suffixes, self.answers, dns, _filler())
        self._wall = wall
        self._config = config
        self._own = OwnSockets(wall.maps)
        self._doors = Doors(wall.maps["dnsfw_doors"], wall.listeners)
        self._askers = Askers(
            wall.maps["dnsfw_askers"], wall.programs["dnsfw_asker"], wall.programs["dnsfw_share"],
            wall.maps["dnsfw_allowance"],
        )
        self._news = News()
        self._every_device = every_device
        self._owners = Ownership(
            Subjects(wall.maps, Resolver(wall.netns, Host())),
            self._news.watch,
            config.cgroup,
            adopted=wall.adopted,
        )
        self._look_again_at = 0.0

    @property
    def backend(self) -> str:
        return self._wall.backend

    @property
    def adopted(self) -> bool:
        return self._wall.adopted

    def own(self, fd: int) -> None:
        self._own.mark(fd)

    def listen(self, endpoints: Sequence[Endpoint]) -> None:
        self._wall.listeners.register(
            Listener(_EVERYWHERE if e.wildcard else addr_from(e.address), e.port) for e in endpoints
        )

    def hooks(self) -> tuple[Hook, ...]:
        return tuple(_shown(h) for h in self._wall.hooks() if not answers(h.program))

    def answer(self, dns: DnsSettings) -> None:
        if self.answers is None:
            return
        on = dns.kernel_answers
        self.answers.switch(on, refusals=on)
        self._wall.answer(on, dns.xdp if on else ())
        if self._wall.standing:
            self._cover()

    def answer_in(self, netns: int, attach: Callable[[int], int]) -> None:
        loaded = "dnsfw_answer_lo" in self._wall.programs
        if loaded and self._wall.answering and self._config.cgroup is not None:
            self._wall.answer_in(netns, attach)

    def answer_only_in(self, netns: Container[int]) -> None:
        self._wall.answer_only_in(netns)

    def answering(self) -> tuple[Hook, ...]:
        if not self._wall.answering:
            return ()
        hooks = (h for h in self._wall.hooks() if answers(h.program) or _calls(h.program))
        return tuple(map(_shown, (*hooks, *self._wall.unanswered.values())))

    def news(self) -> int | None:
        return self._news.fileno()

    def addresses(self) -> frozenset[Addr]:
        found = devices.addresses()
        self._wall.locals.refresh(found)
        return found

    def check(self, policy: Policy) -> None:
        check_dns(policy, self._config)
        check_reach(policy.subjects, self._config, every_device=self._every_device)

    def assign(self, subjects: Sequence[Subject]) -> tuple[str, ...]:
        check_reach(subjects, self._config, every_device=self._every_device)
        self._owners.assign(subjects)
        self._wall.guests = self._owners.subjects.guests
        if self._wall.standing:
            self._cover()
            self._owners.catch_up()
        return self._owners.absent

    def absent(self) -> tuple[str, ...]:
        return self._owners.absent

    def register_cgroup(self, number: int, role: RoleId, rank: Rank) -> None:
        self._owners.subjects.register(number, role, rank)

    def forget_cgroup(self, number: int) -> None:
        self._owners.subjects.forget(number)

    def registered(self) -> dict[int, tuple[RoleId, Rank]]:
        return self._owners.subjects.registered

    def on_relabel(self, relabel: Relabel) -> None:
        self._owners.relabel_by(relabel)
        if self._wall.standing:
            self._owners.catch_up()

    def helper_tables(self) -> tuple[int, int] | None:
        self._owners.subjects.share()
        return self._wall.maps["dnsfw_cgroups"].fd, self._wall.maps["dnsfw_socks"].fd

    def open_doors(self, netns: int, doors: abi.Doors) -> None:
        self._doors.open(netns, doors)

    def close_doors(self, netns: int) -> None:
        self._doors.close(netns)

    def doors(self) -> dict[int, abi.Doors]:
        return self._doors.standing()

    def answer_on_tcp(self, fd: int) -> None:
        self._askers.watch(fd)

    def share_udp(self, fd: int, on: bool) -> None:
        self._askers.share(fd, on)

    def allow_udp(self, datagrams: int) -> None:
        self._askers.allow(datagrams)

    def asker(self, cookie: int) -> RoleId:
        return self._askers.role(cookie)

    def has_asked(self, netns: int, role: RoleId) -> bool:
        return has_asked(self._wall.maps["dnsfw_asked"], netns, role)

    def settle_older(self, policy: Policy, *, end: bool) -> tuple[str, ...]:
        if self._wall.standing:
            self._owners.catch_up()
        older = sort_older(connections(), policy, self._owners.owner())
        for connection, role in older.keep:
            self._wall.maps["dnsfw_flows_in"].update(
                *flow_of(connection, role, self._wall.netns, boot_now())
            )
        # By interface alone nobody knows which connection leaves where.
        return _end(older.end if end and self._config.cgroup is not None else (), policy)

    def settle_role_change(self, policy: Policy) -> tuple[str, ...]:
        if self._config.cgroup is None:
            return ()
        owners = self._owners
        return _end(
            sort_changed(connections(), policy, owners.owner_before(), owners.owner()), policy
        )

    def repair(self) -> tuple[Repair, ...]:
        # What is new first, for it is not guarded yet.
        happened = self._news.drain()
        done = [Repair(f"guarding the new device {name}") for name in self._cover()]
        if happened or time.monotonic() >= self._look_again_at:
            self._look_again_at = time.monotonic() + _LOOK_AGAIN
            guests = self._owners.subjects.guests
            done += self._owners.refresh()
            if self._owners.subjects.guests != guests:  # a bridge has another port
                done += [Repair(f"guarding the link {name} to guests") for name in self._cover()]
            self._owners.catch_up()
        done += self._wall.mend()
        touched = (*self._owners.subjects.verify(), *self.sink.verify())
        if touched:
            tables = ", ".join(touched)
            done.append(Repair(f"somebody wrote to {tables}; it is as it was", tamper=True))
        return tuple(done)

    def _cover(self) -> tuple[str, ...]:
        wanted = every_device() if self._every_device else self._config.interfaces
        return self._wall.cover(wanted, self._owners.subjects.guests)

    def probe(self) -> None:
        test = self_test(
            self.sink,
            self._wall.maps,
            self._config.cgroup,
            self._config.interfaces,
            self._wall.hooks(),
        )
        if test.ok:
            return
        wrong = [f"{t.what}: expected {t.expected}, got {t.got}" for t in test.failures]
        if not wrong:
            wrong = ["no probe was really refused"]
        raise DatapathError(
            f"the wall does not hold: {'; '.join(wrong)}; see `dnsfw doctor`, and `dnsfw status` "
            "for hooks of other programs"
        )

    def close(self, *, remove: bool) -> None:
        self._news.close()
        if not remove:
            self._wall.locals.stop()  # an address that comes later would be refused
        self._wall.close(remove=remove)


def _calls(program: str) -> bool:
    """Whether what it finds to be a question goes on to a program that answers (stages.py)."""
    return program.startswith(("dnsfw_tc_lo", "dnsfw_guest_in", "dnsfw_edge_in"))


def _shown(hook: HookState) -> Hook:
    name = hook.program.removeprefix("dnsfw_")
    return Hook(name, hook.target, hook.how, hook.attached, hook.note)


def _end(found: Iterable[tuple[Connection, RoleId]], policy: Policy) -> tuple[str, ...]:
    for connection, _ in found:
        destroy(connection)
    return tuple(describe(connection, role, policy) for connection, role in found)
