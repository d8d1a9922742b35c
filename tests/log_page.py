"""What Airflow's log page makes of a log with groups."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def outside_of_groups(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """The lines that the page of Airflow 3.3 shows without unfolding, and the titles of groups without an end.

    It finds the words anywhere in a line, and looks at the text without escape sequences.
    """
    outside, groups = list[str](), list[str]()
    for line in lines:
        text = _ESCAPES.sub("", line)
        if "::group::" in text:
            groups.append(text.split("::group::")[1])
        elif "::endgroup::" in text:
            groups = groups[:-1]
        elif not groups:
            outside.append(text)
    return outside, groups
