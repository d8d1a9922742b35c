"""The status at the end of an exec."""

from __future__ import annotations

import json

import pytest

from airflow_script_provider.kube.exec import protocol
from airflow_script_provider.kube.exec.protocol import ExecStatus, parse_status

NO_SHELL = (
    "Internal error occurred: Internal error occurred: error executing command in container: failed to exec in "
    'container: failed to start exec "ab12": OCI runtime exec failed: exec failed: unable to start container process: '
    'exec: "sh": executable file not found in $PATH: unknown'
)


def a_status(reason: str = "", message: str = "", exit_code: str | None = None, status: str = "Failure") -> bytes:
    """The API's status object."""
    causes = [] if exit_code is None else [{"reason": "ExitCode", "message": exit_code}]
    body = {"status": status, "reason": reason, "message": message, "details": {"causes": causes}}
    return json.dumps({"metadata": {}} | body).encode()


def test_success_is_zero() -> None:
    """A success has no details."""
    assert parse_status(b'{"metadata":{},"status":"Success"}') == ExecStatus(0)


def test_exit_code_is_a_cause() -> None:
    """A process that failed has its code among the causes."""
    status = parse_status(a_status("NonZeroExitCode", "command terminated with non-zero exit code", "137"))
    assert (status.exit_code, status.is_start_failure) == (137, False)


def test_missing_program_is_named() -> None:
    """A program that the image lacks was not started, and has no exit code."""
    status = parse_status(a_status("InternalError", NO_SHELL))
    assert (status.exit_code, status.missing_program, status.is_start_failure) == (None, "sh", True)


def test_missing_path_is_named() -> None:
    """The runtime has another message for a missing path."""
    said = 'OCI runtime exec failed: exec failed: exec: "/bin/x": stat /bin/x: no such file or directory: unknown'
    assert parse_status(a_status("InternalError", said)).missing_program == "/bin/x"


def test_other_failures_keep_their_words() -> None:
    """Any other message of the cluster is kept."""
    status = parse_status(a_status("InternalError", "error dialing backend: EOF"))
    assert status == ExecStatus(None, "InternalError", "error dialing backend: EOF")
    assert not status.is_start_failure


@pytest.mark.parametrize("raw", [b"container not found", b"[]", b"\xff"])
def test_text_is_a_failure(raw: bytes) -> None:
    """The text of an older server is a failure."""
    assert parse_status(raw).exit_code is None


def test_frames_of_stdin() -> None:
    """Long data is cut into frames; no data gives no frame."""
    frames = protocol.stdin_frames(b"x" * (protocol.MAX_FRAME + 1))
    assert [len(frame) for frame in frames] == [protocol.MAX_FRAME + 1, 2]
    assert protocol.stdin_frames(b"") == []


def test_control_frames() -> None:
    """The protocol's frames for the end of stdin and for a terminal's size."""
    assert protocol.end_of_stdin() == b"\xff\x00"
    assert protocol.resize(80, 24) == b'\x04{"Width": 80, "Height": 24}'
