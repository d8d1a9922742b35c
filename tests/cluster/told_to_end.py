"""Scripts that go on until a test tells them to end, so that no test guesses how long something takes."""

from __future__ import annotations

from tests.cluster.kubectl import Kubectl

_FILE = "/tmp/end"
UNTIL_TOLD = f"import os, time\nwhile not os.path.exists({_FILE!r}):\n    time.sleep(0.1)\n"
"""Python that waits."""
UNTIL_TOLD_IN_SHELL = f"while ! test -e {_FILE}; do sleep 0.1; done"
"""The same for a shell."""


def tell_to_end(kubectl: Kubectl, namespace: str, pod: str) -> None:
    """Let the script in a pod's container ``script`` go on to its end."""
    kubectl("exec", pod, "-n", namespace, "-c", "script", "--", "touch", _FILE)
