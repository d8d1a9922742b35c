"""Groups in Airflow's log page: ours, and those that a script prints.

The page of Airflow 3.3 takes ``::group::`` anywhere in a line for the head of a folded group, and
hides each line that has ``::endgroup::`` in it. It looks at the text without escape sequences. A
group without an end hides everything after it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence

from airflow_script_provider.kube.logs.stream_lines import text_of
from airflow_script_provider.kube.wording import without_controls, without_group_markers

GROUP, END_OF_GROUP = "::group::", "::endgroup::"
MAX_OPEN = 4
"""Groups of a script that may be open in each other; what is deeper is shown as text."""
AFTER_A_LOSS = (END_OF_GROUP,) * (MAX_OPEN + 1)
"""Lines that end what a reader may have left open that was killed."""

_CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code not in b"\t\n")
_C1_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")


BEGIN_OF_INSTALLATION = f"{GROUP}Installing packages: ".encode()
"""How the first line of an installation in the script's container begins."""


def end_of_installation(mark: str) -> bytes:
    """The last line of an installation in the script's container."""
    return f"{END_OF_GROUP}{mark}\n".encode()


def shown_text(text: str) -> list[str]:
    """A script's output, as the log page may have its lines."""
    groups = Groups()
    return [*groups.shown(text.encode("utf-8", "replace").splitlines(keepends=True)), *groups.close()]


class Groups:
    """The lines of a container as the log page may have them.

    A script's group begins and ends with a line of its own. All other markers are shown as text.
    ``close`` ends what is open, so that no group outlives its reader. ``earlier`` counts groups
    that an earlier reader has ended; their own ends are dropped. ``is_torn`` says that the next
    bytes continue a line. ``mark`` is that of the installation before the script. Without
    ``folds`` lines stay as they are, for a log that is not shown on that page.
    """

    def __init__(self, earlier: int = 0, *, is_torn: bool = False, mark: str | None = None, folds: bool = True) -> None:
        self._earlier, self._open, self._too_deep = earlier, 0, 0
        self._torn: set[Hashable] = {""} if is_torn else set()
        self._last_of_installation = end_of_installation(mark) if mark is not None else None
        self._folds = folds

    @property
    def open(self) -> int:
        """How many groups the script has open, also where ``close`` has ended them in the log."""
        return self._earlier + self._open

    def shown(self, lines: Sequence[bytes], stream: Hashable = "") -> list[str]:
        """The next lines of a stream as text; those without a line end are pieces of a line."""
        if (together := self._plain(lines)) is not None:
            self._torn.discard(stream)
            return together
        texts: list[str] = []
        for line in lines:
            if self._last_of_installation is not None and line.endswith(self._last_of_installation):
                # The last line before it may lack a line end.
                texts += self.shown([head], stream) if (head := line.removesuffix(self._last_of_installation)) else []
                texts += self._end_installation()
            elif self._folds and _may_have_a_marker(line):
                texts += self._marked(text_of(line), is_start=stream not in self._torn)
            else:
                texts.append(text_of(line))
            if line.endswith(b"\n"):
                self._torn.discard(stream)
            else:
                self._torn.add(stream)
        return texts

    def _plain(self, lines: Sequence[bytes]) -> list[str] | None:
        """Whole lines that matter to no group, much faster than one by one; None for others."""
        text = b"".join(lines)
        is_whole = text.count(b"\n") == len(lines) and text.endswith(b"\n")
        has_marker = self._folds and _may_have_a_marker(text)
        ends_installation = self._last_of_installation is not None and self._last_of_installation in text
        if not is_whole or has_marker or ends_installation:
            return None
        return text_of(text).split("\n")

    def close(self) -> list[str]:
        """The ends of the groups that are open in the log."""
        ended, self._earlier, self._open = self._open, self.open, 0
        return [END_OF_GROUP] * ended

    def _marked(self, text: str, *, is_start: bool) -> list[str]:
        bare = without_controls(text).strip()
        if is_start and bare.startswith(GROUP):
            return [self._begin(bare.removeprefix(GROUP))]
        if is_start and bare.startswith(END_OF_GROUP):
            rest = without_group_markers(bare.removeprefix(END_OF_GROUP).strip())
            return [*self._end(), *([rest] if rest else [])]
        return [without_group_markers(text)]

    def _begin(self, title: str) -> str:
        if self._open >= MAX_OPEN or self._too_deep:
            self._too_deep += 1
            return without_group_markers(GROUP + title)
        self._open += 1
        return GROUP + without_group_markers(title)

    def _end(self) -> list[str]:
        if self._too_deep:
            self._too_deep -= 1
        elif self._open:
            self._open -= 1
            return [END_OF_GROUP]
        elif self._earlier:
            self._earlier -= 1
            return []
        return [without_group_markers(END_OF_GROUP)]

    def _end_installation(self) -> list[str]:
        if not self._folds:
            return [END_OF_GROUP]
        ends = self.close()
        self._earlier = self._too_deep = 0
        return ends


def _may_have_a_marker(text: bytes) -> bool:
    """Whether a marker may be in a text, perhaps with control characters inside it."""
    if b"::" in text or len(text.translate(None, _CONTROLS)) < len(text):
        return True
    return b"\xc2" in text and _C1_CONTROL.search(text) is not None
