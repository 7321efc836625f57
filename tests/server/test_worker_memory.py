"""The pages that a daemon and its workers share."""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time

import pytest

from dnsfw.server.worker_memory import Epoch, EpochSeen, Page, fence, heed_fences


def test_another_epoch_is_seen_at_once() -> None:
    epoch = Epoch()
    seen = EpochSeen(epoch.fd)
    before = seen.number
    epoch.next()

    assert (before, seen.number, epoch.number) == (0, 1, 1)
    epoch.close()


def test_a_worker_cannot_write_the_epoch_nor_take_it_away() -> None:
    epoch = Epoch()

    with pytest.raises(OSError):
        mmap.mmap(epoch.fd, mmap.PAGESIZE)
    with pytest.raises(OSError):
        os.pwrite(epoch.fd, b"\7", 0)
    with pytest.raises(OSError):
        os.ftruncate(epoch.fd, 0)
    epoch.next()  # and the daemon still can
    assert EpochSeen(epoch.fd).number == 1
    epoch.close()


def test_a_worker_cannot_take_its_page_away() -> None:
    page = Page.made()

    with pytest.raises(OSError):
        os.ftruncate(page.fd, 0)
    page.close()


def test_what_a_worker_counts_is_read_by_the_daemon() -> None:
    page = Page.made()
    theirs = Page(os.dup(page.fd))
    theirs.enter()
    theirs.leave(5, 2)
    before = page.beats
    theirs.beat()

    assert (page.answered, page.handed_on) == (5, 2)
    assert page.beats != before
    theirs.close()
    page.close()


def test_who_is_in_no_batch_is_not_waited_for() -> None:
    page = Page.made()
    page.enter()
    page.leave(0, 0)

    assert page.passed(0)
    page.close()


def test_who_is_in_a_batch_is_waited_for_until_it_is_over() -> None:
    page = Page.made()
    page.enter()
    waited = threading.Event()
    found: list[bool] = []

    def wait() -> None:
        waited.set()
        found.append(page.passed(30))

    thread = threading.Thread(target=wait)
    thread.start()
    waited.wait()
    still = not found
    page.leave(0, 0)
    thread.join()

    assert still and found == [True]
    page.close()


def test_the_next_batch_is_not_waited_for_too() -> None:
    page = Page.made()
    page.enter()
    thread = threading.Thread(target=lambda: (time.sleep(0.01), page.leave(0, 0), page.enter()))
    thread.start()

    assert page.passed(30)
    thread.join()
    page.close()


def test_who_does_not_finish_in_time_is_found() -> None:
    page = Page.made()
    page.enter()

    assert not page.passed(0.01)
    page.close()


def test_nothing_is_answered_by_an_earlier_epoch_after_the_wait() -> None:
    """By a process that answers as fast as it can, each time by the epoch it sees."""
    epoch, page, said = Epoch(), Page.made(), Page.made()
    pid = os.fork()
    if pid == 0:
        heed_fences()
        seen = EpochSeen(epoch.fd)
        while True:
            page.enter()
            said.leave(seen.number + 1, 0)  # the answer
            page.leave(0, 0)
    try:
        for _ in range(3000):
            epoch.next()
            assert page.passed(30)
            said.leave(0, 0)
            while not (answer := said.answered):
                pass
            assert answer == epoch.number + 1
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for one in (epoch, page, said):
            one.close()


def test_a_fence_is_to_be_had_here() -> None:
    heed_fences()
    fence()
