"""Forms of messages: one line of bounded length, with advice at its end."""

from __future__ import annotations

import signal
from collections.abc import Sequence

MAX_HEADLINE = 200
"""Characters of the first line of a failure."""
MIN_SENTENCE = 140
"""Characters of object and cause beyond which advice moves to the next line."""
MAX_NAMES = 20
"""Names that a message lists."""


def one_line(text: str) -> str:
    """The text as one line."""
    return " ".join(text.split())


def headline_of(sentence: str, hint: str) -> tuple[str, str]:
    """Sentence and hint in at most MAX_HEADLINE characters.

    The cause matters more. If the hint would take too much of its room, the hint is returned
    apart, for the next line.
    """
    room = MAX_HEADLINE - (len(hint) + 1 if hint else 0)
    if len(sentence) > room < MIN_SENTENCE:
        return shortened(sentence, MAX_HEADLINE), hint
    return f"{shortened(sentence, room)} {hint}".rstrip(), ""


def shortened(sentence: str, room: int = MAX_HEADLINE) -> str:
    """The sentence, cut to at most ``room`` characters."""
    return sentence if len(sentence) <= room else sentence[: room - 1].rstrip() + "…"


def signal_name(exit_code: int) -> str | None:
    """The name of the signal n for an exit code of 128 + n, otherwise None."""
    try:
        return signal.Signals(exit_code - 128).name
    except ValueError:
        return None


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
