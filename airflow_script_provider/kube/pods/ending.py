"""How a script ended, in words."""

from __future__ import annotations

from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.pods import pod_status
from airflow_script_provider.kube.pods.pod_status import ContainerEnd, Pod
from airflow_script_provider.kube.wording import signal_name

ENDED_WITH = "the script ended with "
"""How the clause of a script begins that ended by itself or by a signal."""
_CODE = "exit code"


def in_words(end: ContainerEnd, pod: Pod | None) -> str:
    """How a container ended, as a clause."""
    if end.has_killed_child:
        facts = ", ".join(("OOMKilled", *pod_status.memory_limit(pod)))
        return f"{ENDED_WITH}{_CODE} {end.exit_code}; {pod_status.CHILD_KILLED} ({facts})"
    if end.reason == "OOMKilled":
        facts = ", ".join((*pod_status.memory_limit(pod), f"exit {end.exit_code}"))
        return f'container "{SCRIPT_CONTAINER}" was OOMKilled ({facts})'
    if end.reason in pod_status.LOST:
        return f'container "{SCRIPT_CONTAINER}" is lost ({end.reason})'
    name = signal_name(end.exit_code)
    return f"{ENDED_WITH}{_CODE} {end.exit_code}" + (f" ({name})" if name else "")


def with_line(cause: str, line: str) -> str:
    """How a script ended, with the line of it that tells why; an empty line changes nothing."""
    return f"{cause.removeprefix(ENDED_WITH)}: {line}" if line else cause


def has_line(cause: str) -> bool:
    """Whether a cause has the line of ``with_line``."""
    return cause.startswith(_CODE)
