"""What a backend gives: every table and every program of the kernel part, as descriptors.

`libbpf` loads the object that the wheel carries; `bcc` compiles the same
source on this host. Callers see no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from dnsfw.datapath import abi
from dnsfw.datapath.bpf import Map, Program
from dnsfw.errors import DatapathError
from dnsfw.values import dataclass

__all__ = ["DEVICE_PROGRAMS", "MAPS", "PROGRAMS", "Backend", "Loaded", "check"]

# name -> (key bytes, value bytes) as abi.h has them; the ring buffer has none
MAPS: Mapping[str, tuple[int, int]] = {
    "dnsfw_roles": (4, abi.Role.SIZE),
    "dnsfw_rules": (4, abi.Rule.SIZE),
    "dnsfw_generation": (4, 4),
    "dnsfw_portsets": (4, abi.Portset.SIZE),
    "dnsfw_fixed": (abi.FixedKey.SIZE, abi.Fixed.SIZE),
    "dnsfw_grants": (abi.GrantKey.SIZE, abi.Grant.SIZE),
    "dnsfw_flows": (abi.FlowKey.SIZE, abi.Flow.SIZE),
    "dnsfw_flows_in": (abi.FlowKey.SIZE, abi.Flow.SIZE),
    "dnsfw_frags": (abi.FragKey.SIZE, 8),
    "dnsfw_cgroups": (8, abi.Subject.SIZE),
    "dnsfw_ids": (abi.IdKey.SIZE, 4),
    "dnsfw_sources": (abi.SourceKey.SIZE, 4),
    "dnsfw_devices": (abi.DeviceKey.SIZE, 4),
    "dnsfw_via": (abi.ViaKey.SIZE, 4),
    "dnsfw_doors": (8, abi.Doors.SIZE),
    "dnsfw_taken": (4, abi.Taken.SIZE),
    "dnsfw_askers": (8, 4),
    "dnsfw_asked": (8, 1),
    "dnsfw_allowance": (4, 4),
    "dnsfw_listeners": (abi.ListenerKey.SIZE, 1),
    "dnsfw_locals": (abi.LocalKey.SIZE, 1),
    "dnsfw_settings": (4, abi.Settings.SIZE),
    "dnsfw_own": (4, 4),
    "dnsfw_socks": (4, abi.Sock.SIZE),
    "dnsfw_dns": (4, abi.Dns.SIZE),
    "dnsfw_answers": (8, abi.Answer.SIZE),
    "dnsfw_answers_big": (8, abi.AnswerBig.SIZE),
    "dnsfw_answers_long": (8, abi.AnswerLong.SIZE),
    "dnsfw_stages": (4, 4),
    "dnsfw_falls": (4, 8),
    "dnsfw_role_answers": (4, abi.RoleAnswers.SIZE),
    "dnsfw_suffixes": (4, 4),
    "dnsfw_events": (0, 0),
    "dnsfw_refused": (0, 0),
    "dnsfw_counters": (4, abi.Counter.SIZE),
    "dnsfw_role_counters": (4, abi.Counter.SIZE),
}

PROGRAMS = (
    "dnsfw_connect4",
    "dnsfw_connect6",
    "dnsfw_sendmsg4",
    "dnsfw_sendmsg6",
    "dnsfw_recvmsg4",
    "dnsfw_recvmsg6",
    "dnsfw_getpeer4",
    "dnsfw_getpeer6",
    "dnsfw_cg_egress",
    "dnsfw_cg_ingress",
    "dnsfw_sock_create",
    "dnsfw_tc_egress",
    "dnsfw_tc_egress_l3",
    "dnsfw_tc_ingress",
    "dnsfw_tc_ingress_l3",
    "dnsfw_tc_lo",
    "dnsfw_guest_in",
    "dnsfw_guest_in_l3",
    "dnsfw_guest_out",
    "dnsfw_guest_out_l3",
    "dnsfw_edge_in",
    "dnsfw_edge_in_l3",
    "dnsfw_edge_out",
    "dnsfw_edge_out_l3",
    "dnsfw_bind4",
    "dnsfw_bind6",
    "dnsfw_asker",
    "dnsfw_share",
    "dnsfw_answer_lo",
    "dnsfw_answer_in",
    "dnsfw_answer_in_l3",
    "dnsfw_answer_inside",
    "dnsfw_answer_xdp",
)


# Those of devices: the verifier needs two thirds of its time for them.
DEVICE_PROGRAMS = tuple(
    name
    for name in PROGRAMS
    if name.startswith(("dnsfw_tc_", "dnsfw_guest_", "dnsfw_edge_", "dnsfw_answer_"))
    and name != "dnsfw_answer_lo"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The kernel part in memory, attached nowhere; it goes with its descriptors."""

    maps: Mapping[str, Map]
    programs: Mapping[str, Program]
    netns_cookie: bool  # the hooks key by network namespace; False: the key is 0 everywhere

    def close(self) -> None:
        for table in self.maps.values():
            table.close()
        for program in self.programs.values():
            program.close()


class Backend(Protocol):
    """A way to bring the kernel part in."""

    @property
    def name(self) -> str: ...

    @property
    def without(self) -> Collection[str]:
        """Programs that are left out."""

    def key(self) -> str:
        """Equal for what would be loaded alike on this host; empty where nobody can say."""

    def load(self, reuse: Mapping[str, int]) -> Loaded:
        """Load everything; tables named in `reuse` are those descriptors instead of new ones.

        DatapathError when the kernel refuses, with what the verifier wrote.
        """
        ...


def check(loaded: Loaded, without: Collection[str] = ()) -> Loaded:
    """The same, once every table has the sizes of `abi` and every program is there, but those
    that were left out.
    """
    for name, (key, value) in MAPS.items():
        if (table := loaded.maps.get(name)) is None:
            raise DatapathError(f"the kernel object has no table {name}")
        # A per-CPU table's value is one of `value` bytes for each possible CPU.
        if (
            table.key_size != key
            or table.value_size % (value or 1)
            or (value and table.value_size < value)
        ):
            raise DatapathError(
                f"{name} is not what this version expects; rebuild, or `dnsfw down`"
            )
    for program in PROGRAMS:
        if program not in loaded.programs and program not in without:
            raise DatapathError(f"the kernel object has no program {program}")
    return loaded
