"""The pages of docs/howto: what they include, and which lines of a log they quote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "howto"
EXAMPLES = ROOT / "example_dags"

_INCLUDE = re.compile(r"^```\{literalinclude\} (\S+)$", re.MULTILINE)
_DAG = re.compile(r"^```\{literalinclude\} (\S+(?<!/scripts)/\w+\.py)$", re.MULTILINE)
_LOG = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LEVEL = re.compile(r"^(DEBUG|INFO|WARNING|ERROR) ")
# States that a pod soon leaves: a watch may tell of it when it is further.
_PASSING = re.compile(r"Pod \S+ is (starting|running|waiting for a node)\b")
# What is another in each run: names of Jobs and pods, digests, and every number.
_VARIES = (
    (re.compile(r"(?<=[-=])[0-9a-f]{10}(-[a-z0-9]{5})?\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{32,}\b"), "HEX"),
    (re.compile(r"\d+(\.\d+)*"), "0"),
)


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path

    @property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text()

    @property
    def included(self) -> list[Path]:
        """The files that it includes."""
        return [self._target(name) for name in _INCLUDE.findall(self.text)]

    def quoted_log(self, example: Path) -> list[str]:
        """The lines that it quotes of an example's log: the first block of text between this DAG and the next."""
        starts = list(_DAG.finditer(self.text))
        ends = [*(match.start() for match in starts[1:]), len(self.text)]
        for match, end in zip(starts, ends, strict=False):
            block = _LOG.search(self.text, match.end(), end)
            if block and self._target(match[1]) == example:
                return block[1].splitlines()
        return []

    def _target(self, name: str) -> Path:
        return (self.path.parent / name).resolve()


PAGES = [Page(path) for path in sorted(FOLDER.glob("*.md"))]


def quoted_of(example: Path) -> list[str]:
    """The lines of an example's log that any page quotes, without their levels, but for those of passing states."""
    quoted = [_LEVEL.sub("", line) for page in PAGES for line in page.quoted_log(example)]
    return [line for line in quoted if not _PASSING.match(line)]


def is_in(quoted: str, log: str) -> bool:
    """Whether a log has a quoted line, but for what varies; ``…`` in it stands for anything."""
    pattern = ".*".join(re.escape(part) for part in _normal(quoted).split("…"))
    return re.search(pattern, _normal(log)) is not None


def _normal(text: str) -> str:
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text
