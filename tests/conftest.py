"""Markers, probes and the loud skip: what a test needs is said on the test.

`needs_root`, `needs_bpf`, `needs_netns`, `needs_cgroup`, `needs_machine`, `needs_bcc`,
`needs_peers` and `needs_vlans` are probed once a run. `DNSFW_REQUIRE=bpf,netns,cgroup` turns a
skip of these kinds into a failure (not of what is skipped for want of another kind),
`DNSFW_REQUIRE=wheel` insists on the installed package; the last lines of a run list what was
skipped and why.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _prefer_installed() -> str:
    """Import dnsfw from site-packages if a wheel is installed, else from the checkout.

    The checkout is on sys.path for `tests.support`; it must not shadow the wheel.
    """
    saved = sys.path[:]
    sys.path[:] = [entry for entry in saved if Path(entry or ".").resolve() != ROOT]
    try:
        import dnsfw
    except ImportError:
        sys.path[:] = saved
        import dnsfw
    finally:
        sys.path[:] = saved
    return str(Path(dnsfw.__file__).parent)


PACKAGE = _prefer_installed()
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.support.netlab import Lab  # noqa: E402
from tests.support.probes import KINDS, why_not  # noqa: E402

REQUIRED = {kind.strip() for kind in os.environ.get("DNSFW_REQUIRE", "").split(",") if kind.strip()}


def pytest_configure(config: pytest.Config) -> None:
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"needs_{kind}: {meaning}")
    # Ended from outside, a run still takes its namespaces and cgroups down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Compiled lists of the tests, and copies of remote ones, are not the machine's.
    cache = tempfile.TemporaryDirectory(prefix="dnsfw-cache-")
    os.environ["DNSFW_CACHE_DIR"] = cache.name
    config.add_cleanup(cache.cleanup)
    state = tempfile.TemporaryDirectory(prefix="dnsfw-state-")
    os.environ["DNSFW_STATE_DIR"] = state.name
    config.add_cleanup(state.cleanup)
    unknown = REQUIRED - set(KINDS) - {"wheel"}
    if unknown:
        raise pytest.UsageError(f"DNSFW_REQUIRE: unknown {', '.join(sorted(unknown))}")
    if "wheel" in REQUIRED and Path(PACKAGE).parent == ROOT:
        raise pytest.UsageError("DNSFW_REQUIRE=wheel, but dnsfw comes from the checkout")


def pytest_report_header() -> str:
    source = "the checkout" if Path(PACKAGE).parent == ROOT else "the installed wheel"
    return f"dnsfw: {source}, {PACKAGE}"


def _kinds(item: pytest.Item) -> list[str]:
    return [kind for kind in KINDS if item.get_closest_marker(f"needs_{kind}")]


def _is_required(item: pytest.Item) -> bool:
    kinds = set(_kinds(item))
    absent = {kind for kind in kinds if why_not(kind)}
    return bool(REQUIRED & (absent or kinds))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for kind in _kinds(item):
        if reason := why_not(kind):
            pytest.skip(f"needs {kind}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:
    """A skip of a kind that this run insists on is a failure, whoever raised it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _is_required(item):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"DNSFW_REQUIRE={os.environ['DNSFW_REQUIRE']}: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    reasons = Counter(
        str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        .removeprefix("Skipped: ")
        for report in skipped
    )
    terminalreporter.write_sep("-", "skipped, and why")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Namespaces, links and a cgroup named after this test, removed when it ends."""
    with Lab(request.node.nodeid) as made:
        yield made
