"""The kernel's C as one text that BCC compiles; nothing here needs BCC.

BCC knows its own words for tables and takes no `SEC(".maps")`. The sources keep to the few
forms that `kernel/include/dnsfw/maps.h` lists, so that plain substitution is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from dnsfw.datapath.abi import Limit
from dnsfw.datapath.bpf import AttachType, ProgType
from dnsfw.errors import DatapathError

_MAIN = "dnsfw.bpf.c"
_NO_PREALLOC = "BPF_F_NO_PREALLOC"
_INHERITED = "BPF_F_NO_PREALLOC | BPF_F_CLONE"
_INNER = "BPF_F_MMAPABLE | BPF_F_INNER_MAP"
_ARRAYS = {"ARRAY": "array", "SHARED": "array", "PERCPU": "percpu_array"}
_FLAGS = {"HASH": _NO_PREALLOC, "LPM": _NO_PREALLOC, "SHARED": "BPF_F_MMAPABLE"}
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)
# BCC's own prelude has these, and the kernel's <linux/bpf.h> is not the one for programs.
_SYSTEM_INCLUDE = re.compile(r"^#include <(linux/bpf|bpf/bpf_helpers|stdbool)\.h>$", re.MULTILINE)
_PROGRAM = re.compile(r'^PROG\("([^"]+)"\)\s*int (\w+)\(', re.MULTILINE)
_KINDS = "HASH|LRU|LPM|ARRAY|OF_ARRAYS|SHARED|PERCPU|STAGES|SOCKET|RING"
_TABLE = re.compile(rf"^MAP_({_KINDS})\(([^)]*)\);", re.MULTILINE)
_CALLS = (
    (re.compile(r"\bmap_get\((\w+),\s*"), r"\1.lookup("),
    (re.compile(r"\bmap_put\((\w+),\s*"), r"\1.update("),
    (re.compile(r"\bmap_del\((\w+),\s*"), r"\1.delete("),
    (re.compile(r"\bstage_call\((\w+),\s*"), r"\1.call("),
    (re.compile(r"\bsocket_get\((\w+),\s*([^()]*)\)"), r"\1.sk_storage_get(\2, 0, 0)"),
    (re.compile(r"\bsocket_make\((\w+),\s*([^()]*)\)"), r"\1.sk_storage_get(\2, 0, 1)"),
    (re.compile(r"\bring_reserve\((\w+),\s*"), r"\1.ringbuf_reserve("),
    (re.compile(r"\bring_submit\((\w+),\s*([^()]*)\)"), r"\1.ringbuf_submit(\2, 0)"),
    (re.compile(r'^PROG\("[^"]*"\)', re.MULTILINE), ""),
    (re.compile(r"^OPTION\(\w+\);", re.MULTILINE), ""),
)
_SECTIONS: Mapping[str, tuple[ProgType, AttachType | None]] = {
    "cgroup/bind4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_BIND),
    "cgroup/bind6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_BIND),
    "cgroup/connect4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    "cgroup/connect6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    "cgroup/sendmsg4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_SENDMSG),
    "cgroup/sendmsg6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_SENDMSG),
    "cgroup/recvmsg4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_RECVMSG),
    "cgroup/recvmsg6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP6_RECVMSG),
    "cgroup/getpeername4": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
    "cgroup/getpeername6": (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_GETPEERNAME),
    "cgroup/sock_create": (ProgType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE),
    "cgroup_skb/egress": (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS),
    "cgroup_skb/ingress": (ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    "socket": (ProgType.SOCKET_FILTER, None),
    "tc": (ProgType.SCHED_CLS, None),
    "xdp": (ProgType.XDP, AttachType.XDP),
}
# BCC's BPF_RINGBUF_OUTPUT, which takes no path of a pinned one.
_RING = """\
struct {name}_table_t {{
	int key;
	__u32 leaf;
	int (*ringbuf_output)(void *, u64, u64);
	void *(*ringbuf_reserve)(u64);
	void (*ringbuf_discard)(void *, u64);
	void (*ringbuf_submit)(void *, u64);
	u32 max_entries;
}};
__attribute__((section("maps/ringbuf{pin}")))
struct {name}_table_t {name} = {{ .max_entries = {size} }};"""


def directory() -> Path:
    """Where the sources are: in the installed package, or in the checkout around it."""
    package = Path(__file__).resolve().parents[1]
    for found in (package / "kernel_src", package.parent / "kernel"):
        if (found / _MAIN).is_file():
            return found
    raise DatapathError(
        f"the kernel sources are not with this dnsfw ({package / 'kernel_src'}); remedy: use the "
        "shipped programs, --backend libbpf"
    )


def read(where: Path) -> str:
    """The whole source in one text: each own header once, where it is first named."""
    seen: set[Path] = set()

    def insert(path: Path) -> str:
        if path in seen:
            return ""
        seen.add(path)
        return _INCLUDE.sub(lambda m: insert((path.parent / m[1]).resolve()), path.read_text())

    return insert((where / _MAIN).resolve())


def programs(source: str) -> dict[str, tuple[ProgType, AttachType | None]]:
    """Every program with what it is, from the sections the source names."""
    return {name: _SECTIONS[section] for section, name in _PROGRAM.findall(source)}


def tables(source: str) -> tuple[str, ...]:
    """The name of every table."""
    return tuple(_arguments(found[2])[0] for found in _TABLE.finditer(source))


def translate(source: str, pinned: Mapping[str, Path]) -> str:
    """The text in BCC's words; tables in `pinned` are those that lie there."""
    text = _SYSTEM_INCLUDE.sub("", source)
    text = _TABLE.sub(lambda m: _table(m[1], _arguments(m[2]), pinned), text)
    for form, replacement in _CALLS:
        text = form.sub(replacement, text)
    return text


def _arguments(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _table(kind: str, arguments: list[str], pinned: Mapping[str, Path]) -> str:
    name = arguments[0]
    pin = f":{pinned[name]}" if name in pinned else ""
    if kind == "RING":
        return _RING.format(name=name, pin=pin, size=int(Limit.EVENTS_BYTES))
    if kind == "SOCKET":
        return f'BPF_F_TABLE("sk_storage{pin}", int, {arguments[1]}, {name}, 0, {_INHERITED});'
    if kind == "STAGES":
        return f'BPF_F_TABLE("prog{pin}", __u32, __u32, {name}, {arguments[1]}, 0);'
    if kind == "OF_ARRAYS":
        _, inner, value, size = arguments
        return (
            f'BPF_F_TABLE("array", __u32, {value}, {inner}, 1, {_INNER});\n'
            f'BPF_F_TABLE("array_of_maps${inner}{pin}", int, int, {name}, {size}, 0);'
        )
    if kind in _ARRAYS:
        bcc, key, value, size = _ARRAYS[kind], "__u32", arguments[1], arguments[2]
    else:
        bcc = {"HASH": "hash", "LRU": "lru_hash", "LPM": "lpm_trie"}[kind]
        _, key, value, size = arguments
    flags = _FLAGS.get(kind, "0")
    return f'BPF_F_TABLE("{bcc}{pin}", {key}, {value}, {name}, {size}, {flags});'
