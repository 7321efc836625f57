"""The fixtures of the end-to-end tests: a world of their own for each, or for a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.both_ways import Mode
from tests.support.netlab import Lab
from tests.support.rows import numbers
from tests.support.world import World, open_world

_OF_NAMES = range(56, 124)  # rows of DNS and its protocol


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_way(why): not run with and without kernel answers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rows of names hold with the kernel's answers and without: each of their tests."""
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent.name != "netns":
            continue
        of_names = any(number in _OF_NAMES for number in numbers(item.originalname))
        exempt = "answers" in item.fixturenames or item.get_closest_marker("one_way")
        if of_names and not exempt:
            raise pytest.UsageError(f"{item.nodeid} is run one way only: name `answers`")


@pytest.fixture(scope="module", params=["on", "off"])
def answers(request: pytest.FixtureRequest) -> Mode:
    """Who names it is run both ways: the kernel answers, and it does not."""
    return Mode(on=request.param == "on")


@pytest.fixture
def world(request: pytest.FixtureRequest, lab: Lab) -> World:
    """An internet and a guarded host; everything in it goes when the lab closes."""
    both_ways = "answers" in request.fixturenames
    return open_world(lab, request.getfixturevalue("answers") if both_ways else None)


@pytest.fixture(scope="module")
def whole_module(request: pytest.FixtureRequest, answers: Mode) -> Iterator[World]:
    with Lab(f"{request.node.nodeid} {answers}") as lab:
        yield open_world(lab, answers, shared=True)


@pytest.fixture
def shared_world(whole_module: World) -> World:
    """One daemon for all tests of a module, each way; each test is a role of its own there."""
    whole_module.next_test()
    return whole_module
