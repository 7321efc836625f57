"""`dnsfw test`: the tests of a policy, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from dnsfw.cli.render import counts, json_option, print_json
from dnsfw.engine.cases import Result, run_cases, said
from dnsfw.errors import ConfigError
from dnsfw.policy.compile import find_policy, load

__all__ = ["junit", "test"]


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1)
@click.option("--junit", "report", metavar="FILE", help="Write JUnit XML there too.")
@click.option("-q", "--quiet", is_flag=True, help="Only the tests that fail.")
@json_option
@click.pass_context
def test(
    ctx: click.Context, files: tuple[str, ...], report: str | None, quiet: bool, as_json: bool
) -> None:
    """Run the tests of policies: the `tests:` of each, and those in NAME.test.yaml
    beside it. Nothing is asked and nothing is changed.

    \b
      tests:
        - allow: pypi.org:443
        - deny: [evil.com, pypi.org:80]
        - deny: cdn.pypi.org:443
          answer: [x.tracker.example, 198.51.100.7]   # CNAME, address
        - {role: web, allow: db.internal:5432, answer: [10.9.9.9]}
        - {allow: 10.1.2.3:22, by: "allow 10.0.0.0/8:22"}

    Exit status: 0 all pass, 1 a test fails or there is none, 2 a policy cannot be read.
    """
    found: list[tuple[str, list[Result]]] = []
    for path in [find_policy(file) for file in files or [None]]:
        policy = load(path)
        found.append((str(path), list(run_cases(policy, policy.tests))))
    results = [result for _, some in found for result in some]
    if report is not None:
        _write(Path(report), found)
    if as_json:
        print_json([_row(result) for result in results])
    else:
        _show(results, quiet)
    for file, some in found:
        if not some:
            click.echo(f"{file}: no tests; write some under 'tests:'", err=True)
    ctx.exit(0 if results and all(result.ok for result in results) else 1)


def _show(results: list[Result], quiet: bool) -> None:
    for result in results:
        if result.ok and quiet:
            continue
        mark = "ok  " if result.ok else "FAIL"
        click.echo(f"{mark}  {result.case.title}")
        if not result.ok:
            click.echo(f"      {result.case.where}: {said(result)}")
    failed = sum(not result.ok for result in results)
    if results:
        tail = f", {failed} failed" if failed else ", all pass"
        click.echo(counts(len(results), "test") + tail)


def _row(result: Result) -> dict[str, Any]:
    return {
        "test": result.case.title,
        "where": str(result.case.where),
        "ok": result.ok,
        "verdict": result.verdict.name.lower(),
        "rule": result.rule or None,
        "rule_where": result.where or None,
        "why": result.why,
    }


def _write(path: Path, found: list[tuple[str, list[Result]]]) -> None:
    try:
        path.write_bytes(junit(found))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def junit(found: list[tuple[str, list[Result]]]) -> bytes:
    """JUnit XML, as CI systems read it: a suite a policy, a case a test."""
    root = ElementTree.Element("testsuites")
    for file, results in found:
        failed = sum(not result.ok for result in results)
        suite = ElementTree.SubElement(
            root, "testsuite", name=file, tests=str(len(results)), failures=str(failed)
        )
        for result in results:
            case = ElementTree.SubElement(
                suite, "testcase", name=result.case.title, classname=str(result.case.where)
            )
            if not result.ok:
                ElementTree.SubElement(case, "failure", message=said(result))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
