"""Our `dataclass` and the library's cannot be told apart, but by what they cost."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import dnsfw
from dnsfw import values

HOME = Path(dnsfw.__file__).parent
WHOLE = ("__init__", "__eq__", "__dataclass_fields__")


def both(**how: bool) -> list[Any]:
    """The same class, made by the library and by us; ours last."""

    def plain() -> type:
        class Plain:
            """A class like ours."""

            name: str
            count: int = 3
            more: list[int] = field(default_factory=list)
            hidden: int = field(default=7)

            def double(self) -> int:
                return 2 * self.count

        return Plain

    ours: Callable[[type], type] = values.dataclass(slots=True, **how)
    return [dataclasses.dataclass(slots=True, **how)(plain()), ours(plain())]


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    name: str
    count: int = 3


@values.dataclass(frozen=True, slots=True)
class Ours:
    name: str
    count: int = 3


@pytest.mark.parametrize("how", [{}, {"frozen": True}, {"frozen": True, "order": True}], ids=str)
def test_it_does_what_the_library_s_does(how: dict[str, bool]) -> None:
    theirs, ours = ([
        made("x", 4), made("x", count=4), made("x", more=[1]) == made("x", 3, [1], 7),
        made("x") == made("y"), made("x") == ("x", 3, [], 7), made("x") != made("x"),
        made("x").double(), made("x").more is made("x").more, made.__doc__, made.__match_args__,
        made.__slots__, str(signature(made)).replace("<factory>", "..."), made.__hash__ is None,
        dataclasses.asdict(made("x")), dataclasses.astuple(made("x")),
        dataclasses.replace(made("x"), count=5).count, dataclasses.is_dataclass(made),
        [(f.name, f.type, f.default, f.default_factory) for f in dataclasses.fields(made)],
    ] for made in both(**how))  # fmt: skip

    signed = 11
    assert repr(ours[0]) == repr(theirs[0])
    assert ours[2:signed] == theirs[2:signed]
    assert ours[signed + 1 :] == theirs[signed + 1 :]
    assert ours[signed].count("=") == theirs[signed].count("=")


def test_frozen_is_frozen() -> None:
    for made in both(frozen=True):
        one = made("x")
        with pytest.raises(FrozenInstanceError):
            one.name = "y"
        with pytest.raises(FrozenInstanceError):
            del one.name
    for made in both():
        one = made("x")
        one.name = "y"
        assert one.name == "y"
        with pytest.raises(AttributeError):
            one.other = "y"


def test_equal_values_have_equal_hashes_and_others_order() -> None:
    theirs, ours = Theirs("x"), Ours("x")

    assert hash(ours) == hash(theirs) == hash(Ours("x"))
    assert len({Ours("x"), Ours("x"), Ours("y")}) == 2
    for made in both(frozen=True, order=True):
        assert made("a") < made("b") <= made("b", 4) > made("b") >= made("a")
        with pytest.raises(TypeError):
            made("a") < 3  # noqa: B015
    for made in both():
        with pytest.raises(TypeError):
            hash(made("x"))


def test_what_it_is_made_of_must_be_given() -> None:
    for made in both():
        for wrong in ((), ("x", 1, [], 7, 8)):
            with pytest.raises(TypeError):
                made(*wrong)
        with pytest.raises(TypeError):
            made("x", other=3)


def test_a_pattern_takes_it_apart() -> None:
    match Ours("x", 5):
        case Ours(name, count):
            assert (name, count) == ("x", 5)


def test_it_goes_through_pickle_and_reads_what_the_library_s_wrote() -> None:
    assert pickle.loads(pickle.dumps(Ours("x", 4))) == Ours("x", 4)

    made = Ours.__new__(Ours)
    made.__setstate__(Theirs("x", 4).__getstate__())  # type: ignore[attr-defined]
    assert made == Ours("x", 4)


def test_a_class_s_own_methods_stay() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __hash__(self) -> int:
            return 5

    @values.dataclass(frozen=True, slots=True)
    class Same:
        name: str

        def __eq__(self, other: object) -> bool:
            return True

    assert (repr(Own("x")), hash(Own("x")), Own("x") == Own("x")) == ("own", 5, True)
    assert Same("x") == 3
    assert hash(Same("x")) == hash(Same("x"))


def test_nothing_is_compiled_until_it_is_wanted() -> None:
    _, made = both(frozen=True)
    waiting = vars(made)["__init__"]

    assert all(type(vars(made)[name]) is type(waiting) for name in WHOLE)
    assert values.names_of(made) == ("name", "count", "more", "hidden")
    assert vars(made)["__init__"] is waiting

    made("x")

    assert vars(made)["__init__"] is not waiting
    assert type(vars(made)["__eq__"]) is type(waiting)


def test_what_it_cannot_do_is_said_where_the_class_is_written() -> None:
    class Base:
        pass

    with pytest.raises(TypeError, match="library"):
        values.dataclass(frozen=True)
    with pytest.raises(TypeError, match="library"):
        values.dataclass(slots=True)(type("Below", (Base,), {}))
    with pytest.raises(TypeError, match="library"):
        values.dataclass(slots=True)(type("Post", (), {"__post_init__": lambda self: None}))


def test_no_other_class_has_names() -> None:
    assert values.names_of(int) is None
    assert values.names_of(dataclasses.make_dataclass("Plain", ["x"])) is None
    assert values.names_of(Theirs) == values.names_of(Ours) == ("name", "count")


def test_every_value_of_dnsfw_has_the_fields_that_the_library_sees() -> None:
    seen = 0
    for path in sorted(HOME.rglob("*.py")):
        name = ".".join(path.relative_to(HOME.parent).with_suffix("").parts)
        if "values import dataclass" not in path.read_text() or name.startswith("dnsfw.cli"):
            continue
        for made in vars(import_module(name)).values():
            if isinstance(made, type) and made.__module__ == name and values.names_of(made):
                found = [f.name for f in dataclasses.fields(made)]
                assert tuple(found) == values.names_of(made)
                assert tuple(signature(made).parameters) == tuple(found)
                seen += 1
    assert seen > 100
