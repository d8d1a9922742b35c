"""Forms of messages: one line of bounded length, with advice at its end."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

MAX_HEADLINE = 200
"""Characters of the first line of a failure."""
MIN_CAUSE = 120
"""Characters that a first line has for the cause before advice may take room from it."""
_SIGNAL_BASE = 128
MAX_NAMES = 20
"""Names that a message lists."""

_ESCAPES = re.compile(
    r"""(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]  # such as colours and movements of the cursor
    |(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)  # such as titles and links
    |\x1b[ -/]*[0-~]""",
    re.VERBOSE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, and those that turn the direction of writing."""
_OBJECT = re.compile(r"^(?P<kind>Job|Pod) (?P<namespace>[^\s/]+/)?(?P<name>[^\s/:]+)")
_LONG_WORD = re.compile(r"(\S{24})\S{2,}(\S{35})")
"""A word that a first line can show shortened, such as an image or a path."""
_GROUP_MARKER = re.compile(r"::(?=(?:end)?group::)")


def one_line(text: str) -> str:
    """What a server or container reports, as one line of ours."""
    return " ".join(reported(" ".join(text.split())).split())


def message_of(error: BaseException) -> str:
    """The message of an error, or its type where it has none, as a ``TimeoutError``."""
    return str(error) or type(error).__name__


def reported(text: str) -> str:
    """What a server or container reports, as a terminal and Airflow's log page can only show it.

    Every message of a registry, a policy, a server, an event or a container passes this before it
    stands in a sentence of ours.
    """
    return without_group_markers(without_controls(text))


def without_controls(text: str) -> str:
    """The text without escape sequences and control characters; line ends stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def without_group_markers(text: str) -> str:
    """The text so that Airflow's log page takes no part of it for the head or end of a group.

    A space that has no width stands in the marker. A text that has a marker loses its escape
    sequences, which may stand in the marker as well.
    """
    bare = without_controls(text)
    return _GROUP_MARKER.sub(":\u200b:", bare) if _GROUP_MARKER.search(bare) else text


def headline_of(sentence: str, hint: str) -> tuple[str, str]:
    """Sentence and hint in at most MAX_HEADLINE characters.

    The cause matters more. Where the hint would take its room, the hint is returned apart, for the
    next line. A sentence that is still too long loses the middle of long words, the Job's name
    where it stands again, then the namespace, and at last its end.
    """
    brief = _brief(sentence)
    briefest = _OBJECT.sub(r"\g<kind> \g<name>", brief)
    hinted = [f"{form} {hint}".rstrip() for form in (sentence, brief)]
    if fitting := next((line for line in hinted if len(line) <= MAX_HEADLINE), ""):
        return fitting, ""
    if fitting := next((form for form in (sentence, brief) if len(form) <= MAX_HEADLINE), ""):
        return fitting, hint
    found = _OBJECT.match(briefest)
    room = MAX_HEADLINE - len(hint) - 1
    if room < len(briefest) <= MAX_HEADLINE or room - (found.end() if found else 0) < MIN_CAUSE:
        return shortened(briefest), hint
    return f"{shortened(briefest, room)} {hint}".rstrip(), ""


def _brief(sentence: str) -> str:
    """The sentence without the middle of long words, and with its object's name only once."""
    found = _OBJECT.match(sentence)
    if found is None:
        return _LONG_WORD.sub(r"\1…\2", sentence)
    again = re.compile(rf"(?<![\w.-]){re.escape(found['name'])}(?![\w.])")
    rest = again.sub("…", sentence[found.end() :])
    return found[0] + _LONG_WORD.sub(r"\1…\2", rest)


def shortened(sentence: str, room: int = MAX_HEADLINE) -> str:
    """The sentence, cut to at most ``room`` characters."""
    return sentence if len(sentence) <= room else sentence[: room - 1].rstrip() + "…"


def signal_name(exit_code: int) -> str | None:
    """The name of the signal n for an exit code of 128 + n, otherwise None.

    Real-time signals have numbers above ``SIGRTMIN``.
    """
    number = exit_code - _SIGNAL_BASE
    try:
        return signal.Signals(number).name
    except ValueError:
        real_time = number - signal.SIGRTMIN
        return f"SIGRTMIN+{real_time}" if 0 < real_time <= signal.SIGRTMAX - signal.SIGRTMIN else None


def with_advice(text: str, advice: str) -> str:
    """Advice at the end of the first line if it fits, otherwise in its own line."""
    first, _, rest = text.partition("\n")
    fits = len(first) + 1 + len(advice) <= MAX_HEADLINE
    lines = [f"{first} {advice}".rstrip()] if fits else [first, advice]
    return "\n".join([*lines, rest] if rest else lines)


def first_of(words: Sequence[str], most: int = MAX_NAMES) -> str:
    """The first words, and how many there are if that is not all."""
    more = f", … ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def limit_in_words(name: str, seconds: float | None, *, is_rest: bool) -> str:
    """The limit that ended a run; ``is_rest`` says that a part of it was over before the run."""
    if seconds is None:
        return f"its {name}"
    return f"the {seconds:g} s that were left of its {name}" if is_rest else f"its {name} of {seconds:g} s"


def changed_limit_in_words(name: str, asked: float | None, own: float) -> str:
    """The limit that ended a run, where it is not the one that was asked for."""
    ours = "None" if asked is None else f"{asked:g} s"
    return f"the Job's activeDeadlineSeconds of {own:g} s (its {name} is {ours})"
