"""Choose the executor that runs a script, and its namespace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from airflow_script_provider.exceptions import TargetError

LOCAL = "local"
CONTAINER = "container"
KUBERNETES = "kubernetes"
JOB = "job"
EXECUTORS = (LOCAL, CONTAINER, KUBERNETES, JOB)

DEFAULT_ORDER = (LOCAL, CONTAINER, KUBERNETES)
"""The executors that are tried if a task lists none.

A Job would always be available, so it only runs if it is asked for.
"""

READ_BY: Mapping[str, tuple[str, ...]] = {
    "--deployment": (KUBERNETES,),
    "--container": (CONTAINER, KUBERNETES),
    "--namespace": (KUBERNETES, JOB),
    "--context": (KUBERNETES, JOB),
    "--conn-id": (KUBERNETES, JOB),
    "--image": (CONTAINER, JOB),
    "--workdir": (LOCAL, CONTAINER, KUBERNETES),
    "--interactive": (LOCAL, CONTAINER, KUBERNETES),
    "--tty": (LOCAL, CONTAINER, KUBERNETES),
}
"""The executors that read an option. All executors read an option that is not listed here."""


def candidates(executor: str | None, allowed: Sequence[str] | None, options: Collection[str] = ()) -> tuple[str, ...]:
    """The executors that may run a script, best first; ``ValueError`` if there is none.

    ``executor`` is ``--executor``, ``allowed`` the task's own list. ``options`` are the other
    options of the command line; an option that only some executors read leaves only those.
    """
    if executor is not None and executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}; known executors: {', '.join(EXECUTORS)}")
    if executor is not None and allowed is not None and executor not in allowed:
        raise ValueError(f"the task does not allow the executor {executor!r}; it allows {', '.join(allowed)}")
    order = (executor,) if executor is not None else tuple(allowed or DEFAULT_ORDER)
    for option in options:
        readers = READ_BY.get(option, EXECUTORS)
        left = tuple(name for name in order if name in readers)
        if not left:
            raise ValueError(f"{option} only works with {', '.join(readers)}; this run may use {', '.join(order)}")
        order = left
    return order


def first_available(order: Sequence[str], why_unavailable: Callable[[str], str | None]) -> str:
    """The first available executor; ``TargetError`` gives the reason of each of the others."""
    reasons: dict[str, str] = {}
    for name in order:
        reason = why_unavailable(name)
        if reason is None:
            return name
        reasons[name] = reason
    if len(reasons) == 1:
        name, reason = reasons.popitem()
        raise TargetError(f"the executor {name!r} is not available: {reason}")
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise TargetError(f"no executor is available. {listed}")


def namespace(
    flag: str | None, environ: Mapping[str, str], in_file: str | None, of_context: Callable[[], str | None]
) -> str:
    """The namespace: flag, ``K8S_NAMESPACE``, file with its flavor, or context, in this order."""
    return flag or environ.get("K8S_NAMESPACE") or in_file or of_context() or "default"
