"""Run ``airflow standalone`` until Ctrl+C: say where it is when it is ready, and leave no process of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

IN_ITS_OWN_PID_NAMESPACE = ["unshare", "-p", "--fork", "--kill-child", "--mount-proc"]
"""Whatever Airflow leaves running then ends with it."""
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
SECONDS_TO_END = 20


def main(port: int) -> int:
    """Run it; the exit code is 0 if a user ended it."""
    if _is_taken(port):
        print(f"Port {port} is taken: choose another one, as in PORT={port + 1} make ui", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job would ignore the first one
        signal.signal(number, signal.default_int_handler)
    log, url = Path(os.environ["AIRFLOW_HOME"]) / "ui.log", f"http://127.0.0.1:{port}"
    print(f"Starting Airflow, which takes a minute or so; its log is {log}", flush=True)
    with log.open("wb") as output:
        airflow = subprocess.Popen(_command(), stdout=output, stderr=output, start_new_session=True)
    try:
        if _becomes_ready(airflow, url):
            print(f"Airflow is ready: {url} (no login needed). Ctrl+C ends it.", flush=True)
            airflow.wait()
    except KeyboardInterrupt:
        print("\nEnding Airflow", flush=True)
        return 0
    finally:
        _end(airflow)
    print(f"Airflow has ended; the end of its log, {log}:\n{_tail(log)}", file=sys.stderr)
    return 1


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _command() -> list[str]:
    may_isolate = subprocess.run([*IN_ITS_OWN_PID_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    return [*(IN_ITS_OWN_PID_NAMESPACE if may_isolate else []), "airflow", "standalone"]


def _becomes_ready(airflow: subprocess.Popen[bytes], url: str) -> bool:
    while airflow.poll() is None:
        if _is_healthy(url):
            return True
        time.sleep(0.5)
    return False


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in PARTS)


def _end(airflow: subprocess.Popen[bytes]) -> None:
    """As Ctrl+C in a terminal would, then for good."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if airflow.poll() is None:
            os.killpg(airflow.pid, number)
        try:
            airflow.wait(SECONDS_TO_END)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
        return


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
