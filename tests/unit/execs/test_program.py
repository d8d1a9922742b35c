"""A program whose connection breaks before it has announced itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest

from airflow_script_provider.api.client import KubernetesApi
from airflow_script_provider.execs import program as program_module
from airflow_script_provider.execs.program import OutputRecorder, Program
from airflow_script_provider.execs.session import ExecTarget
from airflow_script_provider.kube.exec.ends import ConnectionBroken, ExecEnd, NotStarted
from airflow_script_provider.kube.exec.outcome import ExecOutput
from airflow_script_provider.kube.exec.protocol import ExecStatus
from airflow_script_provider.run_log import LoggerRunLog
from tests.builders import an_exec_request

START = 'failed to exec in container: failed to start exec "ab12": OCI runtime exec failed: exec failed: '


class Broken(Program):
    """A program whose connection breaks while its code is sent."""

    async def _run(self, argv: Sequence[str], data: bytes, protocols: Sequence[str] = ()) -> tuple[None, str]:
        return None, "reset"


def a_broken_program() -> Broken:
    """Such a program of a script, in the container ``api``."""
    recorder = OutputRecorder(LoggerRunLog(logging.getLogger(__name__), None), ExecOutput.of(100))
    target = ExecTarget("shop", "api-x1", "api")
    return Broken(cast(KubernetesApi, None), target, an_exec_request().invocation("api:1"), recorder)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (f'{START}exec: "sh": executable file not found in $PATH: unknown', NotStarted),
        (f'{START}exec: "sh": permission denied: unknown', NotStarted),
        (f"{START}fork/exec /proc/self/fd/6: resource temporarily unavailable: unknown", ConnectionBroken),
        (f"{START}cannot exec in a stopped container: unknown", ConnectionBroken),
    ],
)
async def test_only_a_shell_that_can_never_start_has_not_started(
    monkeypatch: pytest.MonkeyPatch, message: str, kind: type[ExecEnd]
) -> None:
    """A second exec that cannot begin now says nothing of the first, which may run beside it (R2, R36)."""

    async def ask(*_: Any) -> tuple[None, ExecStatus]:
        return None, ExecStatus(None, "InternalError", message)

    monkeypatch.setattr(program_module, "ask_helper", ask)
    assert isinstance(await a_broken_program().run(), kind)
