"""The system call's errors and descriptors, without asking the kernel for anything."""

from __future__ import annotations

import errno
import os

import pytest

from dnsfw.datapath.syscall import BpfError, Closing, Cmd, call
from dnsfw.errors import DatapathError


def test_an_error_keeps_its_number_and_says_its_name() -> None:
    error = BpfError("write to dnsfw_grants", errno.E2BIG)

    assert isinstance(error, DatapathError)
    assert error.errno == errno.E2BIG
    assert str(error).startswith("write to dnsfw_grants: E2BIG (")


def test_the_kernels_own_number_has_a_name_too() -> None:
    assert "ENOTSUPP" in str(BpfError("test run", 524))


def test_too_few_open_files_name_the_remedy() -> None:
    error = BpfError("load", errno.EMFILE, "libbpf: map 'dnsfw_desks': failed")

    assert "ulimit -n" in str(error).splitlines()[0]


def test_the_verifiers_words_come_after_the_error() -> None:
    error = BpfError("load", errno.EACCES, "R1 invalid mem access")

    assert str(error).splitlines()[-1] == "R1 invalid mem access"


def test_a_refused_call_raises_with_what_it_was_for() -> None:
    with pytest.raises(BpfError, match="nonsense") as caught:
        call(Cmd.OBJ_GET, b"\xff" * 8, "nonsense")

    assert caught.value.errno in (errno.EFAULT, errno.EINVAL, errno.EPERM, errno.ENOSYS)


def test_a_descriptor_is_closed_when_its_block_ends() -> None:
    read, write = os.pipe()
    os.close(write)

    with pytest.raises(ValueError, match="inside"), Closing(read) as fd:
        assert fd == read
        raise ValueError("inside")

    with pytest.raises(OSError, match="Bad file"):
        os.fstat(read)
