"""Which executor runs a script, and in which namespace."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from airflow_script_provider.exceptions import TargetError

LOCAL = "local"
CONTAINER = "container"
KUBERNETES = "kubernetes"
JOB = "job"
EXECUTORS = (LOCAL, CONTAINER, KUBERNETES, JOB)

DEFAULT_ORDER = (LOCAL, CONTAINER, KUBERNETES)
"""What is tried where nothing is listed. A Job needs no application to be there, so it is only taken when asked for."""

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
"""The executors that read an option; one that is not listed is read by all."""


def candidates(asked: str | None, listed: Sequence[str] | None, options: Collection[str] = ()) -> tuple[str, ...]:
    """The executors that may run a script, best first; ``ValueError`` where there is none.

    ``asked`` is ``--executor``, ``listed`` the task's own list, ``options`` what else was said on the command line: an
    option that only some executors read narrows the choice to those.
    """
    if asked is not None and asked not in EXECUTORS:
        raise ValueError(f"there is no executor {asked!r}; known are {', '.join(EXECUTORS)}")
    if asked is not None and listed is not None and asked not in listed:
        raise ValueError(f"the executor {asked!r} is not one that the task allows: {', '.join(listed)}")
    order = (asked,) if asked is not None else tuple(listed or DEFAULT_ORDER)
    for option in options:
        readers = READ_BY.get(option, EXECUTORS)
        left = tuple(name for name in order if name in readers)
        if not left:
            raise ValueError(f"{option} is read by {' and '.join(readers)} only, not by {' or '.join(order)}")
        order = left
    return order


def first_available(order: Sequence[str], why_not: Callable[[str], str | None]) -> str:
    """The first executor that ``why_not`` has nothing against; ``TargetError`` says what it has against each."""
    reasons: dict[str, str] = {}
    for name in order:
        reason = why_not(name)
        if reason is None:
            return name
        reasons[name] = reason
    if len(reasons) == 1:
        name, reason = reasons.popitem()
        raise TargetError(f"the executor {name!r} is not available: {reason}")
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise TargetError(f"no executor is available. {told}")


def namespace(
    flag: str | None, environ: Mapping[str, str], in_file: str | None, of_context: Callable[[], str | None]
) -> str:
    """The namespace: of the flag, ``K8S_NAMESPACE``, the file as its flavor has it, the kubeconfig's context."""
    return flag or environ.get("K8S_NAMESPACE") or in_file or of_context() or "default"
