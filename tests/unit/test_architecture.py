"""Imports go one way, and each third party has one door (DESIGN, section 6)."""

from __future__ import annotations

import ast
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import dnsfw

PACKAGE = Path(dnsfw.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

# What a layer may import of the others; every layer may import itself, errors, model and values.
MAY = {
    "cli": {"server", "engine", "policy", "wire", "datapath"},
    "server": {"engine", "policy", "wire", "datapath"},
    "engine": {"policy", "wire"},
    "policy": {"wire"},
    "wire": set(),
    "datapath": set(),
}
DOORS = {
    "bcc": ["datapath/bcc.py"],
    "cachetools": ["engine/failures.py"],
    "marisa_trie": ["policy/lists/table.py"],
    "click": ["cli/*.py"],
    "cryptography": ["policy/minisign.py"],
    "dnslib": ["cli/query.py"],
    "h2": ["server/http2.py"],
    "idna": ["policy/pattern.py", "policy/psl.py"],
    "publicsuffixlist": ["policy/pattern.py", "policy/psl.py"],
    "pydantic": ["policy/syntax*.py"],
    "pydantic_core": ["policy/syntax*.py"],
    "pyroute2": ["datapath/netlink.py"],
    "uvloop": ["server/loop.py"],
    "yaml": ["policy/syntax*.py"],
}


def imports(source: str) -> set[str]:
    """Every module that a source text imports, at any depth, for types too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def complaints(where: str, source: str) -> list[str]:
    """What the house rules say against the imports of one module (`wire/name.py`)."""
    layer = where.split("/")[0] if "/" in where else None
    found = []
    for name in sorted(imports(source)):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "dnsfw":
            if where in ("errors.py", "__init__.py", "values.py", "datapath/abi.py"):
                found.append(f"{where} imports {name}: it imports the standard library only")
            elif where == "model.py":
                if not rest.startswith(("datapath.abi", "errors", "values")) and rest != "datapath":
                    found.append(f"{where} imports {name}: it imports datapath.abi only")
            elif where == "__main__.py":
                if not rest.startswith("cli"):
                    found.append(f"{where} imports {name}: it is the door to cli only")
            elif target in MAY and target != layer and target not in MAY.get(layer or "", set()):
                found.append(f"{where} imports {name}: calls go one way")
        elif top not in sys.stdlib_module_names and not any(
            fnmatch(where, door) for door in DOORS.get(top, [])
        ):
            found.append(f"{where} imports {top}: its door is {DOORS.get(top, 'nowhere')}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_the_direction_of_imports_and_the_doors(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))

    assert complaints(where, path.read_text()) == []


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("wire/name.py", "from dnsfw.policy.rule import Rule"),
        ("engine/engine.py", "from dnsfw.datapath.sink import Sink"),
        ("engine/engine.py", "from dnsfw import server"),
        ("policy/rule.py", "def f():\n    import dnsfw.engine.ledger"),
        ("datapath/sink.py", "from dnsfw.wire.name import from_text"),
        ("server/daemon.py", "import dnslib"),
        ("policy/rule.py", "import yaml"),
        ("model.py", "from dnsfw.wire import name"),
        ("datapath/abi.py", "from dnsfw.model import Name"),
        ("cli/up.py", "import requests"),
    ],
)
def test_the_check_sees_each_kind_of_breach(where: str, source: str) -> None:
    assert complaints(where, source)


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("server/daemon.py", "from dnsfw.datapath.sink import Sink"),
        ("cli/main.py", "import click\nfrom dnsfw.server.daemon import run"),
        ("policy/syntax_rules.py", "import yaml"),
        ("datapath/sink.py", "from dnsfw.model import Entry\nfrom dnsfw.datapath import abi"),
        ("wire/name.py", "from dnsfw.errors import WireError"),
    ],
)
def test_the_check_lets_the_drawn_arrows_pass(where: str, source: str) -> None:
    assert complaints(where, source) == []


# Wall clocks step and CLOCK_MONOTONIC stops in suspend: only CLOCK_BOOTTIME may decide.
SHOWS_THE_TIME = {"server/reporter.py", "server/log.py", "cli"}  # to people, and decides nothing
KERNEL = next(
    path for path in (PACKAGE / "kernel_src", PACKAGE.parent / "kernel") if path.is_dir()
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_row_117_no_module_that_decides_reads_a_clock_that_jumps(path: Path) -> None:
    where = str(path.relative_to(PACKAGE))
    if where in SHOWS_THE_TIME or where.split("/")[0] in SHOWS_THE_TIME:
        return
    names = imports(path.read_text())

    assert not re.search(r"\btime\.time(_ns)?\(|\bCLOCK_REALTIME\b", path.read_text())
    assert not names & {"datetime", "time.time", "time.time_ns"}
    if where.split("/")[0] in ("wire", "policy", "engine"):
        assert not any(name.split(".")[0] == "time" for name in names), "time is an argument"


def test_row_117_the_kernel_part_reads_the_boot_clock_only() -> None:
    sources = [*KERNEL.rglob("*.h"), *KERNEL.glob("*.bpf.c")]
    clocks = {clock for path in sources for clock in re.findall(r"bpf_ktime\w+", path.read_text())}

    assert clocks == {"bpf_ktime_get_boot_ns"}
