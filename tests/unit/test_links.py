"""Every link of the documentation leads somewhere: to a file that is there, and to a heading in it."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^()\s]+)\)")
OPERATORS = {"operating.md", "kubernetes.md", "monitoring.md", "sizing.md", "troubleshooting.md"}


def prose(text: str) -> str:
    """Without code, where brackets mean something else."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_in(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", LINK.sub("]", heading).lower()).replace(" ", "-")
        anchors.add(f"{words}-{seen[words]}" if seen[words] else words)
        seen[words] += 1
    return anchors


@cache
def anchors_of(page: Path) -> set[str]:
    return anchors_in(page.read_text())


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for link in LINK.findall(prose(text)):
        if re.match("[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text()) == []


def test_a_dead_link_is_seen() -> None:
    page = ROOT / "docs" / "operating.md"
    text = (
        "[a](api.md) [b](../README.md#easel) [c](#one-machine) [d](gone.md) [e](api.md#gone) [f](#gone) [g](https://x)"
    )
    assert dead_links(page, text) == ["gone.md", "api.md#gone", "#gone"]


def test_anchors_are_those_of_github() -> None:
    headings = (
        "## Ingress: `args` of `serve_app.app:build`\n# A, and [b](c.md)\n### Same\n### Same\n```\n# no heading\n```"
    )
    assert anchors_in(headings) == {"ingress-args-of-serve_appappbuild", "a-and-b", "same", "same-1"}


@pytest.mark.parametrize("start", ["README.md", "docs/operating.md"])
def test_operators_find_every_page(start: str) -> None:
    linked = {Path(link.partition("#")[0]).name for link in LINK.findall(prose((ROOT / start).read_text()))}
    assert linked >= OPERATORS - {Path(start).name}
