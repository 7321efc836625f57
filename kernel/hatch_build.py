"""Builds the BPF object for the wheel: clang is needed here, and never at run time.

The C sources go along as `dnsfw/kernel_src`: `--backend bcc` compiles them on the host.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

OBJECT = "dnsfw/datapath/dnsfw.bpf.o"
BUILDER = "dnsfw/datapath/suffix_build.bpf.o"
SOURCES = ("*.bpf.c", "*.bpf.h", "include/dnsfw/*.h")


class BuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add what .gitignore would keep out. Fails where clang is missing."""
        kernel = Path(self.root) / "kernel"
        built = Path(self.root) / OBJECT
        done = subprocess.run(
            ["make", "-C", str(kernel), f"OUT={built}", f"BUILDER={Path(self.root) / BUILDER}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            raise RuntimeError("the BPF object did not compile; it needs clang, llvm, libbpf-dev")
        build_data["artifacts"] += [OBJECT, BUILDER]
        for pattern in SOURCES:
            for source in sorted(kernel.glob(pattern)):
                inside = f"dnsfw/kernel_src/{source.relative_to(kernel)}"
                build_data["force_include"][str(source)] = inside
