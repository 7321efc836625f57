"""Devices, addresses and cgroups on one descriptor."""

from __future__ import annotations

import select
from pathlib import Path

from dnsfw.datapath.news import News


def test_a_cgroup_that_appears_is_news_once(tmp_path: Path) -> None:
    news = News()
    try:
        assert news.watch({tmp_path})
        news.drain()
        assert not select.select([news.fileno()], [], [], 0)[0]

        (tmp_path / "x").mkdir()

        assert select.select([news.fileno()], [], [], 0)[0]
        assert news.drain() and not news.drain()
        assert not select.select([news.fileno()], [], [], 0)[0]
    finally:
        news.close()
