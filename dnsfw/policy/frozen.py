"""A compiled policy as bytes, for another process of ours or the next one.

Pickle, held to the classes that a policy is made of: what they may do is be filled with values.
No function can be named but the one that maps a list. A list lies in its own file, which is
named with its seal, so that another one in its place is noticed.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from enum import Enum
from functools import cache
from hashlib import blake2b
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path, PosixPath
from typing import Any

from dnsfw.policy.lists.table import Damaged, Table
from dnsfw.values import names_of

__all__ = ["NotWhole", "freeze", "shape", "thaw"]

_ROOM = "dnsfw.policy."
_MODULES = ("dnsfw.model", "dnsfw.datapath.abi", *(
    _ROOM + name for name in (
        "addresses", "compile_log", "lists.columns", "lists.names", "matcher", "pattern", "policy",
        "prefix", "problems", "questions", "remote", "rule", "temporary", "upstream",
    )
))  # fmt: skip
_PLAIN = frozenset({"AddressTable", "Matcher", "RolePolicy", "_Alone", "_OneBelow"})
_OTHERS: dict[tuple[str, str], type] = {
    **{("ipaddress", t.__name__): t for t in (IPv4Address, IPv4Network, IPv6Address, IPv6Network)},
    ("pathlib", "PosixPath"): PosixPath,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}
_Unfrozen = tuple[Callable[..., Any], tuple[Any, ...]]


class NotWhole(Exception):
    """These bytes are not what `freeze` made in a dnsfw of this version, on this host."""


def freeze(value: object) -> bytes:
    """Bytes for `thaw`. NotWhole: a list that lies in no file."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def thaw(data: bytes) -> Any:
    """The value. NotWhole for everything that is not one."""
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except NotWhole:
        raise
    except Exception as error:  # whatever pickle finds wrong, or a class does not take
        raise NotWhole(f"{type(error).__name__}: {error}") from None


@cache
def shape() -> bytes:
    """The classes and what they hold: equal where one process can read what another wrote."""
    found = blake2b(digest_size=16)
    for name in _MODULES:
        for kept in _classes(name):
            found.update(f"{name} {kept.__name__} {' '.join(_parts(kept))}\n".encode())
    return found.digest()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Table):
            if value.path is None:
                raise NotWhole("a list is in no file")
            return _mapped, (str(value.path), value.seal)
        if isinstance(value, Enum):  # by its value, whatever this Python would do
            return type(value), (value.value,)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, _mapped.__name__):
            return _mapped
        if (known := _OTHERS.get((module, name))) is not None:
            return known
        if module in _MODULES:
            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and _is_value(found, module):
                return found
        raise NotWhole(f"{module}.{name} is no part of a policy")


def _mapped(path: str, seal: bytes) -> Table:
    try:
        table = Table.open(Path(path))
    except (OSError, Damaged) as error:
        raise NotWhole(f"{path}: {error}") from None
    if table.seal != seal:
        raise NotWhole(f"{path} is another list")
    return table


def _is_value(found: type, module: str) -> bool:
    if found.__module__ != module:
        return False
    named = issubclass(found, tuple) and hasattr(found, "_fields")
    plain = named or found.__name__ in _PLAIN
    return names_of(found) is not None or issubclass(found, Enum) or plain


def _classes(module: str) -> Iterator[type]:
    for name, value in sorted(vars(import_module(module)).items()):
        if isinstance(value, type) and value.__name__ == name and _is_value(value, module):
            yield value


def _parts(kept: type) -> Iterator[str]:
    if (names := names_of(kept)) is not None:
        yield from names
    elif issubclass(kept, Enum):
        yield from (f"{name}={value.value!r}" for name, value in kept.__members__.items())
    else:
        yield from getattr(kept, "_fields", ()) or getattr(kept, "__slots__", ())
