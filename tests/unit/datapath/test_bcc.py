"""What BCC needs is looked for first, and named when it is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dnsfw.datapath import bcc
from dnsfw.datapath.bcc import BccBackend, import_bcc, kernel_headers
from dnsfw.errors import DatapathError

RELEASE = os.uname().release


@pytest.fixture(autouse=True)
def no_headers_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(bcc, "_KHEADERS", tmp_path / "no-kheaders")


def test_without_bcc_the_remedy_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", (tmp_path,))

    with pytest.raises(DatapathError, match="python3-bpfcc"):
        BccBackend().load({})


def test_a_bcc_that_does_not_start_is_told_apart_from_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("raise OSError('libbcc.so.0: not found')\n")
    monkeypatch.setattr(bcc, "_SYSTEM_PACKAGES", (tmp_path,))
    monkeypatch.delitem(sys.modules, "bcc", raising=False)

    with pytest.raises(DatapathError, match=r"libbcc\.so\.0"):
        import_bcc()
    assert str(tmp_path) not in sys.path


def test_without_headers_the_remedy_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(DatapathError, match="linux-headers"), kernel_headers(tmp_path, tmp_path):
        pass


def test_headers_of_the_running_kernel_are_left_to_bcc(tmp_path: Path) -> None:
    (tmp_path / RELEASE / "build").mkdir(parents=True)

    with kernel_headers(tmp_path, tmp_path):
        assert "BCC_KERNEL_SOURCE" not in os.environ


def test_a_source_that_the_operator_named_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/somewhere")

    with kernel_headers(tmp_path, tmp_path):
        assert os.environ["BCC_KERNEL_SOURCE"] == "/somewhere"


def test_debians_two_halves_of_another_version_are_put_together(tmp_path: Path) -> None:
    machine = bcc._MACHINES[os.uname().machine]
    built, common = tmp_path / "linux-headers-6.1.0-9-x", tmp_path / "linux-headers-6.1.0-9-common"
    (built / "include" / "generated").mkdir(parents=True)
    (built / "arch" / machine / "include" / "generated").mkdir(parents=True)
    (common / "include" / "linux").mkdir(parents=True)
    (common / "include" / "linux" / "types.h").touch()
    (common / "arch" / machine / "include" / "asm").mkdir(parents=True)

    with kernel_headers(tmp_path / "modules", tmp_path):
        found = Path(os.environ["BCC_KERNEL_SOURCE"])
        assert (found / "include" / "linux" / "types.h").is_file()
        assert (found / "include" / "generated").is_dir()
        assert (found / "arch" / machine / "include" / "asm").is_dir()

    assert not found.exists()
    assert "BCC_KERNEL_SOURCE" not in os.environ


def test_a_whole_tree_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kernels" / "6.1" / "include" / "generated").mkdir(parents=True)

    with kernel_headers(tmp_path / "modules", tmp_path):
        assert os.environ["BCC_KERNEL_SOURCE"] == str(tmp_path / "kernels" / "6.1")
