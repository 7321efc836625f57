"""The kernel's C in BCC's words, as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dnsfw.datapath import bcc_source
from dnsfw.datapath.backend import MAPS, PROGRAMS
from dnsfw.datapath.bpf import AttachType, ProgType
from dnsfw.errors import DatapathError


@pytest.fixture(scope="module")
def source() -> str:
    return bcc_source.read(bcc_source.directory())


def test_every_table_and_program_of_the_contract_is_in_the_source(source: str) -> None:
    assert set(MAPS) <= set(bcc_source.tables(source))
    assert set(PROGRAMS) == set(bcc_source.programs(source))


def test_no_form_of_the_other_compiler_is_left_outside_its_own_part(source: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", bcc_source.translate(source, {}), flags=re.DOTALL)
    text = re.sub(r"#ifndef DNSFW_BCC\n.*?#endif", "", text, flags=re.DOTALL)

    forms = r"\b(?:map_(?:get|put|del)|MAP_\w+|socket_\w+|ring_\w+|PROG|OPTION|SEC)\("
    assert re.findall(forms, text) == []
    assert '#include "' not in text


def test_an_own_header_is_inserted_once(tmp_path: Path) -> None:
    (tmp_path / "dnsfw.bpf.c").write_text('#include "a.h"\n#include "sub/b.h"\nmain\n')
    (tmp_path / "a.h").write_text('#include "sub/b.h"\nin a\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.h").write_text("in b\n")

    assert bcc_source.read(tmp_path).split("\n") == ["in b", "", "in a", "", "", "main", ""]


def test_the_section_says_what_a_program_is(source: str) -> None:
    programs = bcc_source.programs(source)

    assert programs["dnsfw_tc_egress"] == (ProgType.SCHED_CLS, None)
    assert programs["dnsfw_connect6"] == (
        ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "bcc"),
    [
        ("MAP_HASH(t, K, V, 8);", 'BPF_F_TABLE("hash", K, V, t, 8, BPF_F_NO_PREALLOC);'),
        ("MAP_LRU(t, K,\n\tV, 8);", 'BPF_F_TABLE("lru_hash", K, V, t, 8, 0);'),
        ("MAP_ARRAY(t, V, 1);", 'BPF_F_TABLE("array", __u32, V, t, 1, 0);'),
        ("MAP_SOCKET(t, V);",
         'BPF_F_TABLE("sk_storage", int, V, t, 0, BPF_F_NO_PREALLOC | BPF_F_CLONE);'),
        ("\tx = map_get(t, &k);", "\tx = t.lookup(&k);"),
        ("\tmap_put(t, &k,\n\t\t&v);", "\tt.update(&k, &v);"),
        ("\tx = socket_make(t, ctx->sk);", "\tx = t.sk_storage_get(ctx->sk, 0, 1);"),
        ("\tring_submit(t, e);", "\tt.ringbuf_submit(e, 0);"),
        ('PROG("tc")\nint f(void)', "\nint f(void)"),
        ("OPTION(dnsfw_x);", ""),
    ],
)  # fmt: skip
def test_each_form_has_its_word(form: str, bcc: str) -> None:
    squeezed = re.sub(r",\s+", ", ", bcc_source.translate(form, {}))

    assert squeezed == re.sub(r",\s+", ", ", bcc)


@pytest.mark.parametrize("form", ["MAP_HASH(t, K, V, 8);", "MAP_RING(t, 8);", "MAP_SOCKET(t, V);"])
def test_a_table_to_adopt_is_named_by_its_path(form: str) -> None:
    text = bcc_source.translate(form, {"t": Path("/sys/fs/bpf/x/t")})

    assert ':/sys/fs/bpf/x/t"' in text


def test_without_sources_the_remedy_is_the_other_backend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bcc_source, "__file__", str(tmp_path / "dnsfw" / "datapath" / "x.py"))

    with pytest.raises(DatapathError, match="--backend libbpf"):
        bcc_source.directory()
