"""Scripts that wait until a test tells them to go on, so that no test guesses how long something takes."""

from __future__ import annotations

from tests.cluster.kubectl import Kubectl

_FILE = "/tmp/told"
UNTIL_TOLD = f"import os, time\nwhile not os.path.exists({_FILE!r}):\n    time.sleep(0.05)\n"
"""Python that waits."""
UNTIL_TOLD_IN_SHELL = f"while ! test -e {_FILE}; do sleep 0.1; done"
"""The same for a shell."""
STEPS = f"""
import os, time
def wait(step):
    while not os.path.exists({_FILE!r} + str(step)):
        time.sleep(0.05)
"""
"""Python with a function that waits for one of several steps."""


def tell(kubectl: Kubectl, namespace: str, pod: str, step: object = "") -> None:
    """Let the script in a pod's container ``script`` go on, to its end or beyond a step."""
    kubectl("exec", pod, "-n", namespace, "-c", "script", "--", "touch", f"{_FILE}{step}")


def tell_all(kubectl: Kubectl, namespace: str, *words: str, step: object = "") -> None:
    """Let the scripts in the running pods of a namespace, or those that a selector chooses, go on."""
    for pod in kubectl.running_pods(namespace, *words):
        tell(kubectl, namespace, pod, step)
