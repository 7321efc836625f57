"""What is exported without a loss and imported again judges every name and address the same."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnsfw.errors import PolicyError
from dnsfw.model import Verdict, addr_from
from dnsfw.policy.compile import compile_text
from dnsfw.policy.exporters import FORMATS, Exported, export
from dnsfw.policy.importers import FORMATS as IMPORTS
from dnsfw.policy.importers import import_text
from dnsfw.policy.policy import RolePolicy
from dnsfw.policy.problems import Problems
from dnsfw.wire.name import from_text

LABELS = ("a", "b", "api-1", "c")
NAMES = ("example.com", "example.net", *(
    f"{front}.{base}" for base in ("example.com", "a.example.com", "b.a.example.com", "example.net")
    for front in LABELS
))  # fmt: skip
PATTERNS = (*(
    lead + base for lead in ("", "*.", ".", "+.") for base in ("example.com", "a.example.com",
    "b.a.example.com", "example.net")
), "api-*.example.com")  # fmt: skip
PREFIXES = ("192.0.2.0/24", "192.0.2.128/25", "192.0.2.130", "[2001:db8::]/32", "[2001:db8::1]")
ADDRESSES = (
    "192.0.2.1", "192.0.2.129", "192.0.2.130", "2001:db8::1", "2001:db8:1::", "203.0.113.1",
)  # fmt: skip
ASKED = ((6, 443), (6, 80), (17, 443), (1, 0))
KEPT = {  # what a format can say: patterns, ports, both verdicts, default
    "plain": ("", (), ("",), "both"),
    "hosts": ("", (), ("",), "allow"),
    "wildcard": ("exact *. .", (), ("",), "both"),
    "adblock": ("exact *. .", (), ("",), "allow"),
    "rpz": ("exact *. .", PREFIXES, ("",), "allow"),
    "dnsmasq": (".", (), ("",), "both"),
    "cidr": ("none", PREFIXES, ("",), "both"),
    "cilium": ("exact *. . +.", PREFIXES, ("", ":443/tcp", ":443", "/tcp"), "deny"),
    "allowed-endpoints": ("exact *. .", ("192.0.2.130",), (":443", ":80,443"), "deny"),
    "sandbox": ("exact *. .", ("192.0.2.130",), ("/tcp", ":443/tcp"), "deny"),
}  # fmt: skip


def written(default: str, rules: list[tuple[bool, str, str]]) -> RolePolicy | None:
    """The role of these rules; None where they contradict each other."""
    lines = [f'  - {"allow" if yes else "deny"}: "{what}{ports}"\n' for yes, what, ports in rules]
    text = f"version: 1\ndefault: {default}\n"
    try:
        return compile_text(text + ("rules:\n" + "".join(lines) if lines else ""), "p.yaml").host
    except PolicyError:
        return None


def again(done: Exported, form: str, default: str, place: Path) -> RolePolicy:
    """Imported as somebody would: from the file that was exported."""
    path = place / "exported"
    path.write_text(done.text)
    reader = IMPORTS[form]
    allows = default == "deny" and reader.listed is not None
    read = reader.listed(True, False) if allows and reader.listed else reader.read
    made = read(done.text, str(path), problems := Problems())
    problems.stop_if_any()
    assert made is not None and made.lost == ()
    return compile_text(made.text, str(place / "p.yaml")).host


def allowed(role: RolePolicy, proto: int, port: int) -> list[bool]:
    """Every name and every address, of one port."""
    names = [role.judge(from_text(name)).share(proto, port).verdict for name in NAMES]
    found = [role.judge_addr(addr_from(address), proto, port) for address in ADDRESSES]
    addresses = [role.default if one is None else one.verdict for one in found]
    return [verdict is Verdict.ALLOW for verdict in (*names, *addresses)]


def rules_of(form: str) -> st.SearchStrategy[tuple[str, list[tuple[bool, str, str]]]]:
    kinds, prefixes, ports, defaults = KEPT[form]
    words = kinds.split()
    fits = [
        text for text in PATTERNS
        if (("exact" in words or not words) and text[0] not in "*.+" and "*" not in text)
        or any(text.startswith(word) for word in words if word != "exact")
    ]  # fmt: skip
    rule = st.tuples(st.booleans(), st.sampled_from([*fits, *prefixes]), st.sampled_from(ports))
    default = st.sampled_from(["allow", "deny"] if defaults == "both" else [defaults])
    return st.tuples(default, st.lists(rule, min_size=1, max_size=5))


@pytest.mark.parametrize("form", sorted(KEPT))
def test_what_is_told_without_a_loss_means_the_same_when_it_is_read_again(form: str) -> None:
    compared = 0

    @settings(max_examples=120, deadline=None, database=None)
    @given(rules_of(form))
    def judged(drawn: tuple[str, list[tuple[bool, str, str]]]) -> None:
        nonlocal compared
        default, rules = drawn
        role = written(default, rules)
        assume(role is not None)
        assert role is not None
        done = export(FORMATS[form], role)
        if done.lost or not any(_says(done)):
            return
        with TemporaryDirectory() as place:
            read = again(done, form, default, Path(place))
        for proto, port in ASKED:
            if form == "sandbox" and proto != 6:
                continue  # a sandbox carries TCP alone, and the import says so
            assert allowed(read, proto, port) == allowed(role, proto, port), done.text
        compared += 1

    judged()
    assert compared > 10, "hardly anything was kept"


def _says(done: Exported) -> list[str]:
    heads = ("#", "!", ";", "$", "@ ", "  NS")
    return [line for line in done.text.splitlines() if line and not line.startswith(heads)]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(FORMATS)), st.sampled_from(["allow", "deny"]),
    st.lists(st.tuples(st.booleans(), st.sampled_from(PATTERNS + PREFIXES),
                       st.sampled_from(["", ":443", "/tcp", ":1-9/udp", "/sctp"])), max_size=5),
)  # fmt: skip
def test_every_rule_is_in_the_text_or_told(
    form: str, default: str, rules: list[tuple[bool, str, str]]
) -> None:
    role = written(default, rules)
    assume(role is not None)
    assert role is not None
    done = export(FORMATS[form], role)
    told = {found.source for found in done.findings}

    for rule in role.rules:
        name = rule.what.text.lstrip("*.+").replace("[", "").replace("]", "").partition("/")[0]
        labels = name.replace("::", ":zz:").strip(":").replace(":", ".").split(".")
        reverse = ".".join(reversed(labels))
        assert rule.text in told or name in done.text or reverse in done.text


def test_the_importers_of_all_exports_exist() -> None:
    assert set(FORMATS) == set(KEPT) <= set(IMPORTS)
    assert import_text(IMPORTS["plain"], "x.example\n", "f").lost == ()
