"""Reading the pages of the documentation as what they are: Markdown."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def page(path: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / path).read_text()


def links(file: Path) -> list[str]:
    """Where the links of a page lead; code has none."""
    return _LINK.findall(_CODE.sub("", _FENCE.sub("", file.read_text())))


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", file.read_text())):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks in a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE).rstrip("\n") for indent, body in found]


def commands(text: str) -> list[str]:
    """The commands of a page: its indented lines, without what a comment says of them."""
    return [line.strip().partition("  #")[0].strip() for line in re.findall(r"^ {4}\S.*$", text, re.MULTILINE)]
