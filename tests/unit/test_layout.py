"""Someone new finds a test from its module's name, and nothing lies about."""

from __future__ import annotations

from pathlib import Path

import pytest

import dnsfw

PACKAGE = Path(dnsfw.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
# Which folders may hold the mirror of a layer's module: unit first, then where it is run for real.
MIRRORS = {
    "server": ("unit", "."),
    "cli": ("unit", "."),
    "datapath": ("unit", "kernel", "netns"),
}
TOP = {
    ".ci", ".git", ".github", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "bench",
    "contrib", "dnsfw", "kernel", "policies", "pyproject.toml", "tests",
}
MADE = {  # by tools, and in .gitignore
    ".benchmarks", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv",
    "__pycache__", "build", "dist",
}
LONGEST_MODULE = 400  # lines; the aim is 150
MODULES = sorted(
    path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)


def mirrors(module: Path) -> list[Path]:
    """Where the test file of a module may be."""
    layer = module.parts[0] if len(module.parts) > 1 else ""
    test = f"test_{module.name}"
    places = []
    for folder in MIRRORS.get(layer, ("unit",)):
        parent = TESTS / folder
        flat = folder in ("kernel", "netns")
        places.append(parent / test if flat else parent / module.parent / test)
    return places


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_module_has_its_test_file(module: Path) -> None:
    places = mirrors(module)

    assert any(place.exists() for place in places), [str(p.relative_to(ROOT)) for p in places]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_no_module_is_longer_than_anybody_reads(module: Path) -> None:
    if module == Path("datapath/abi.py"):
        return  # generated

    assert len((PACKAGE / module).read_text().splitlines()) <= LONGEST_MODULE


def test_no_stray_entry_at_the_top() -> None:
    assert {path.name for path in ROOT.iterdir()} - TOP - MADE == set()


def test_every_unit_test_mirrors_a_module_that_exists() -> None:
    own = {"test_architecture.py", "test_bench.py", "test_layout.py", "test_rows.py"}
    orphans = [
        str(test.relative_to(TESTS))
        for test in (TESTS / "unit").rglob("test_*.py")
        if test.name not in own
        and not any(test in mirrors(module) for module in MODULES)
        and not (PACKAGE / test.relative_to(TESTS / "unit").parent / test.stem[5:]).is_dir()
    ]

    assert orphans == []
