"""`dataclass` as the standard library's, at a tenth of its price while a process begins.

The library compiles five functions for each class when it is defined: half a millisecond and
12 kB, and dnsfw has two hundred. Here a method is compiled when it is first called; most are
never. What else such a class is asked for (`fields`, `replace`, `asdict`) the library answers.

Taken is what nearly all of them are: slots, frozen or not, ordered or not, defaults and factories.
For one with bases or a __post_init__ there is the library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass", "names_of"]

_FIELDS = "__dataclass_fields__"  # by which the library knows one
_ORDER = {"__eq__": "==", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


class _Later:
    """Stands for an attribute of a class until somebody wants it."""

    __slots__ = ("_cls", "_make", "_name")

    def __init__(self, cls: type, name: str, make: Callable[[], Any]) -> None:
        self._cls, self._name, self._make = cls, name, make

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        setattr(self._cls, self._name, self._make())  # by two threads: the same twice
        return getattr(self._cls if instance is None else instance, self._name)


def names_of(cls: type) -> tuple[str, ...] | None:
    """The fields of a dataclass with slots, and nothing is made for it; None of another class."""
    found = vars(cls)
    return found["__slots__"] if _FIELDS in found and "__slots__" in found else None


def _dataclass(
    *, frozen: bool = False, slots: bool = False, order: bool = False
) -> Callable[[type], type]:
    if not slots:
        raise TypeError("one without slots is for the library to make")
    return partial(_made, frozen, order)


def _made(frozen: bool, order: bool, cls: type) -> type:
    """The class again, with slots and all that a dataclass can do."""
    if cls.__bases__ != (object,) or hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__qualname__}: the library can do that, this cannot")
    body: dict[str, Any] = dict(vars(cls))
    annotations: dict[str, Any] = body.get("__annotations__", {})
    names = tuple(annotations)
    defaults = {name: body.pop(name) for name in names if name in body}
    for value in defaults.values():
        if isinstance(value, Field) and not (value.init and value.repr and value.compare):
            raise TypeError(f"{cls.__qualname__}: the library can do that, this cannot")
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    body |= {"__slots__": names, "__match_args__": names, "__qualname__": cls.__qualname__}
    body.setdefault("__repr__", _repr)
    wanted: dict[str, Callable[[type], Any]] = {
        "__init__": partial(_init, names, defaults, frozen),
        **{name: partial(_compare, names, name) for name in (_ORDER if order else ("__eq__",))},
    }
    if frozen:
        body |= {"__setattr__": _refuse, "__delattr__": _refuse}
        body |= {"__getstate__": _state, "__setstate__": _take_state}
        wanted["__hash__"] = partial(_hash, names)
    else:
        body.setdefault("__hash__", None)
    made = type(cls.__name__, (), body)
    for name, make in wanted.items():
        if body.get(name) is None:  # a class that says what is equal has None for a hash
            setattr(made, name, _Later(made, name, partial(make, made)))
    setattr(made, _FIELDS, _Later(made, _FIELDS, partial(_fields, annotations, defaults, made)))
    return made


# --- methods that are compiled ---


def _init(
    names: tuple[str, ...], defaults: dict[str, Any], frozen: bool, made: type
) -> Callable[..., None]:
    values: dict[str, Any] = {"_absent": MISSING}
    arguments, lines = ["self"], ["pass"]
    for name in names:
        value, argument, taken = defaults.get(name, MISSING), name, name
        if isinstance(value, Field) and value.default_factory is not MISSING:
            values[f"_make_{name}"] = value.default_factory
            argument = f"{name}=_absent"
            taken = f"_make_{name}() if {name} is _absent else {name}"
        elif (value := value.default if isinstance(value, Field) else value) is not MISSING:
            values[f"_is_{name}"] = value
            argument = f"{name}=_is_{name}"
        arguments.append(argument)
        if frozen:  # past __setattr__
            values[f"_set_{name}"] = vars(made)[name].__set__
        lines.append(f"_set_{name}(self, {taken})" if frozen else f"self.{name} = {taken}")
    return _compiled(made, "__init__", ", ".join(arguments), lines, values)


def _compare(names: tuple[str, ...], name: str, made: type) -> Callable[[Any, object], bool]:
    lines = [
        "if other.__class__ is self.__class__:",
        f" return {_all_of('self', names)} {_ORDER[name]} {_all_of('other', names)}",
        "return NotImplemented",
    ]
    return _compiled(made, name, "self, other", lines)


def _hash(names: tuple[str, ...], made: type) -> Callable[[Any], int]:
    return _compiled(made, "__hash__", "self", [f"return hash({_all_of('self', names)})"])


def _all_of(one: str, names: tuple[str, ...]) -> str:
    return "(" + "".join(f"{one}.{name}, " for name in names) + ")"


def _compiled(
    made: type, name: str, arguments: str, lines: list[str], values: dict[str, Any] | None = None
) -> Callable[..., Any]:
    space = {"__name__": made.__module__, **(values or {})}
    exec("\n ".join((f"def {name}({arguments}):", *lines)), space)
    found: Callable[..., Any] = space[name]
    found.__qualname__ = f"{made.__qualname__}.{name}"
    return found


def _fields(annotations: dict[str, Any], defaults: dict[str, Any], made: type) -> dict[str, Any]:
    """As the library has them, from a class that has nothing else."""
    body = {"__annotations__": annotations, "__module__": made.__module__, "__doc__": "-"}
    twin = type(made.__name__, (), body | defaults)
    dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(twin)
    found: dict[str, Any] = vars(twin)[_FIELDS]
    return found


# --- methods that all of them share ---


def _repr(self: Any) -> str:
    told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
    return f"{type(self).__qualname__}({told})"


def _refuse(self: object, name: str, value: object = None) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__qualname__}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _take_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = _dataclass
