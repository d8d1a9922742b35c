"""The websocket protocol of exec: channels, frames, and the status that ends it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum

from airflow_script_provider.kube.causes import cluster_messages
from airflow_script_provider.kube.causes.cluster_messages import ProgramFault
from airflow_script_provider.kube.causes.patterns import compiled_later

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""The newest protocol stands first; only it can end stdin."""
WORDS_OF_THE_NODE = PROTOCOLS[1:]
"""The protocol whose frames come from the node, so that a status is the node's own word.

The API server translates the newest protocol, and reports success when the node's connection ends
without a status: ``StreamTranslatorHandler`` in k8s.io/apiserver.
"""
MAX_FRAME = 32 * 1024
"""Bytes of stdin in one frame."""

_MISSING = compiled_later(r'exec: \\?"([^"\\]+)\\?": (?:executable file not found|stat \S+: no such file)')
_REFUSED = compiled_later(r"unable to upgrade connection")
_NOT_CONNECTED = compiled_later(r"\bdial (?:tcp|unix)\b|error dialing backend")
# Not every "failed to exec in container": containerd reports so also that it lost a process.
_NOT_STARTED = compiled_later(
    r"OCI runtime exec failed|failed to (?:start exec|create exec|load task)|container is in \w+ state"
)
# The call that starts the process got no answer, so the process may have begun.
_START_UNANSWERED = compiled_later(r"ttrpc: closed|context (?:canceled|deadline exceeded)")


class Channel(IntEnum):
    """The stream that a frame belongs to: the number in the frame's first byte."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4
    CLOSE = 255


@dataclass(frozen=True)
class ExecStatus:
    """How the process ended: with an exit code, or with Kubernetes' reason and message."""

    exit_code: int | None
    reason: str = ""
    message: str = ""

    @property
    def missing_program(self) -> str | None:
        """The program that the image lacks, None if the program started or failed otherwise."""
        found = _MISSING.search(self.message)
        if found:
            return found[1]
        return self.program_fault.program if self.program_fault and self.program_fault.is_missing else None

    @property
    def program_fault(self) -> ProgramFault | None:
        """The program that is missing or cannot be executed, None if it is not the cause."""
        return cluster_messages.program_fault(self.message)

    @property
    def is_refused_by_node(self) -> bool:
        """Whether the node has answered the API server with a refusal, so that nothing ran.

        The rest of the message is the kubelet's answer: ``NewConnection`` of ``SpdyRoundTripper``
        in k8s.io/apimachinery.
        """
        return self.exit_code is None and bool(_REFUSED.search(self.message))

    @property
    def has_no_connection(self) -> bool:
        """Whether the API server could not reach the container runtime, so that nothing ran."""
        return self.exit_code is None and bool(_NOT_CONNECTED.search(self.message))

    @property
    def is_start_failure(self) -> bool:
        """Whether the container runtime could not start the process, so that nothing ran."""
        if self.missing_program is not None:
            return True
        return bool(_NOT_STARTED.search(self.message)) and not _START_UNANSWERED.search(self.message)


def parse_status(raw: bytes) -> ExecStatus:
    """Read the ``v1.Status`` of a status frame; other text is a failure with that message."""
    try:
        status = json.loads(raw)
        causes = (status.get("details") or {}).get("causes") or []
    except (ValueError, AttributeError):
        return ExecStatus(None, "Unreadable", raw.decode("utf-8", "replace"))
    if status.get("status") == "Success":
        return ExecStatus(0)
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    codes = [str(cause.get("message")) for cause in causes if cause.get("reason") == "ExitCode"]
    has_code = reason == "NonZeroExitCode" and bool(codes) and codes[0].isdigit()
    return ExecStatus(int(codes[0]) if has_code else None, reason, message)


def frame(channel: Channel, data: bytes) -> bytes:
    """A frame to send."""
    return bytes([channel]) + data


def stdin_frames(data: bytes) -> list[bytes]:
    """Data for stdin, in frames that every server accepts."""
    return [frame(Channel.STDIN, data[start : start + MAX_FRAME]) for start in range(0, len(data), MAX_FRAME)]


def end_of_stdin() -> bytes:
    """The frame that ends stdin; only the newest protocol has it."""
    return frame(Channel.CLOSE, bytes([Channel.STDIN]))


def resize(width: int, height: int) -> bytes:
    """The frame that sets a terminal's size, in characters."""
    return frame(Channel.RESIZE, json.dumps({"Width": width, "Height": height}).encode())
