"""A stream's bytes as whole lines."""

from __future__ import annotations

from airflow_script_provider.kube.logs.pod_lines import MAX_LINE


def text_of(line: bytes) -> str:
    """A line as a log has it: without its end, bytes that are no text replaced."""
    return line.decode("utf-8", "replace").removesuffix("\n")


class Lines:
    """Cuts pieces into lines with their line ends; an over-long line is delivered in pieces."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that these bytes complete."""
        head, end, rest = data.partition(b"\n")
        if not end:
            return self._keep(data)
        *middle, tail = rest.split(b"\n")
        lines = [b"".join((*self._partial, head, end)), *(line + b"\n" for line in middle)]
        self._partial, self._size = [], 0
        return lines + self._keep(tail)

    def finish(self) -> list[bytes]:
        """The last line, if it has no line end."""
        last = b"".join(self._partial)
        self._partial, self._size = [], 0
        return [last] if last else []

    def _keep(self, tail: bytes) -> list[bytes]:
        self._partial.append(tail)
        self._size += len(tail)
        return self.finish() if self._size >= MAX_LINE else []
