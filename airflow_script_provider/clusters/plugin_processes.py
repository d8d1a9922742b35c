"""The process of a kubeconfig's exec plugin, which never outlives its purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress

from airflow_script_provider.clusters.exec_plugin import Command


class PluginProcess:
    """A plugin runs in a thread; ``end`` ends it from another one, with the processes it started.

    It has no keyboard: it would take the script's stdin, and a task has none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ended = False

    def output(self, command: Command, timeout: float) -> bytes:
        """The plugin's stdout. ``ValueError`` if it fails or takes longer, without its stderr."""
        with self._lock:
            if self._is_ended:
                raise ValueError("exec: the plugin was not started, as the run is over")
            self._process = process = _started(command)
        with process:
            try:
                output, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.end()
                raise ValueError(f"the kubeconfig's plugin has not answered within {timeout:g} s") from None
        if process.returncode != 0:
            words = f"exec: process returned {process.returncode}"
            raise ValueError(f"{words} (its output may be secret: run the plugin by hand)")
        return output

    def end(self) -> None:
        """Kill the plugin if it still runs, and start none from now on. Does not block."""
        with self._lock:
            self._is_ended = True
            if self._process is not None and self._process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)


def _started(command: Command) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the kubeconfig names the command
        command.words,
        env=command.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
