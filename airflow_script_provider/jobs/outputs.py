"""What a follower keeps of the output of a Job's pods."""

from __future__ import annotations

from airflow_script_provider.kube.job.follow_state import Kept
from airflow_script_provider.kube.logs.output import Output, Tail

MAX_KEPT = 64 * 1024
"""Bytes at most of an output that travel where its log goes with its pod."""


class Outputs:
    """Of the pod that has printed last and the one before it: a Job may have many, and only one decides.

    A follower whose result is made by another keeps the ends only (``whole`` is False): they are needed where the pod,
    and its log with it, is gone before the other can read it.
    """

    def __init__(self, max_bytes: int, *, whole: bool) -> None:
        self._max_bytes = max_bytes
        self._whole = whole
        self._outputs: dict[str, Output] = {}
        self._tails: dict[str, Tail] = {}

    def begin(self, uid: str) -> Output | Tail:
        """What the lines of a pod are to be added to."""
        if self._whole:
            self._outputs = {old: self._outputs[old] for old in list(self._outputs)[-1:]} | {
                uid: Output(self._max_bytes)
            }
            return self._outputs[uid]
        self._tails = {uid: Tail(min(self._max_bytes, MAX_KEPT))}
        return self._tails[uid]

    def of(self, uid: str | None, kept: Kept | None = None) -> Output:
        """The output of a pod, else of the last one that had any; what was ``kept`` where nothing could be read."""
        output = self._outputs.get(uid or "", next(reversed(self._outputs.values()), Output(self._max_bytes)))
        if not output.size and kept is not None:
            output.add_end(kept.text, kept.size)
        return output

    def kept(self, uid: str | None) -> Kept:
        """The end of a pod's output, for another's result."""
        tail = self._tails.get(uid or "")
        return Kept() if tail is None else Kept(tail.text(), tail.size)
