"""The program that answers on lo of other network namespaces: a container's, a run's.

Its links are pinned beside the wall's own, so answers go on while nobody is there to ask. A
link holds neither the namespace nor its lo; its pin is taken away by whoever next looks.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from dnsfw.datapath import bpf, links, pins
from dnsfw.datapath.bpf import Program
from dnsfw.datapath.links import link_create
from dnsfw.datapath.process import entered
from dnsfw.datapath.syscall import AttachType, BpfError, Closing

__all__ = ["PREFIX", "Attach", "answer_there", "leave_others", "on_lo_of"]

_LO = 1  # its number in every namespace
PREFIX = "lo_"  # and the namespace's number, as /proc shows it

# Puts a program (a descriptor) on lo there, and gives the link.
Attach = Callable[[int], int]


def on_lo_of(network: int, program: int) -> int:
    """The link of a program on lo of a network namespace (descriptors), behind whatever else
    runs there. DatapathError.
    """
    with entered(network):
        return link_create(program, _LO, AttachType.TCX_EGRESS)


def answer_there(directory: Path, netns: int, program: Program, attach: Attach) -> None:
    """From now on this program answers there; in one step if an earlier one of ours does.

    DatapathError, and what `attach` raises: it does not.
    """
    pin = directory / f"{PREFIX}{netns}"
    if pin.exists():
        with Closing(bpf.obj_get(pin)) as link:
            if links.link_info(link).target:
                links.link_update(link, program.fd)
                return
        pin.unlink()  # of a namespace that is gone, and whose number came again
    with Closing(attach(program.fd)) as link:
        pins.pin(link, pin)


def leave_others(directory: Path, keep: Container[int] = ()) -> None:
    """Nothing of ours answers in any namespace but these."""
    for pin in directory.glob(f"{PREFIX}*"):
        if int(pin.name.removeprefix(PREFIX)) not in keep:
            leave(pin)


def leave(pin: Path) -> None:
    """Now; unpinning alone would take it away when the kernel gets to it."""
    try:
        with Closing(bpf.obj_get(pin)) as link:
            links.link_detach(link)
    except BpfError:
        pass  # it went with its namespace
    pin.unlink(missing_ok=True)
