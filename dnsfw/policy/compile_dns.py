"""The `dns` section of a policy: where the proxy listens, whom it asks, how it refuses."""

from __future__ import annotations

from dnsfw.policy.compile_subjects import device_name
from dnsfw.policy.compile_upstreams import compile_nat64, compile_upstreams
from dnsfw.policy.endpoints import DEFAULT_LISTEN, parse_endpoint
from dnsfw.policy.policy import DnsSettings, Endpoint
from dnsfw.policy.problems import Problems, Wrong, shown
from dnsfw.policy.syntax import DnsSection
from dnsfw.policy.syntax_yaml import Document


def compile_dns(section: DnsSection | None, document: Document, problems: Problems) -> DnsSettings:
    """The settings; what is wrong goes to the problems and is left out."""
    section = section or DnsSection()
    listen = _listen(section.listen or [DEFAULT_LISTEN], document, problems)
    return DnsSettings(
        listen,
        compile_upstreams(section.upstreams, listen, document, problems),
        section.refuse,
        section.takeover,
        section.private,
        kernel_answers=section.kernel_answers == "on",
        xdp=_devices(section.xdp or [], document, problems),
        nat64=compile_nat64(section.nat64_prefix, document, problems),
        workers=section.workers,
    )


def _devices(texts: list[str], document: Document, problems: Problems) -> tuple[str, ...]:
    found: list[str] = []
    for index, text in enumerate(texts):
        where = document.place(("dns", "xdp", index))
        try:
            name = device_name(text)
        except Wrong as wrong:
            problems.wrong(where, wrong)
            continue
        if name in found:
            problems.error(where, f"{shown(text)} stands twice", "take one out")
        found.append(name)
    return tuple(found)


def _listen(texts: list[str], document: Document, problems: Problems) -> tuple[Endpoint, ...]:
    found: list[Endpoint] = []
    for index, text in enumerate(texts):
        where = document.place(("dns", "listen", index))
        try:
            endpoint = parse_endpoint(text)
        except Wrong as wrong:
            problems.wrong(where, wrong)
            continue
        if endpoint in found:
            problems.error(where, f"{shown(text)} stands twice", "take one out")
        found.append(endpoint)
    return tuple(found)
