"""What a refusal of the API server means to the author.

It names the missing right or namespace, or the argument to check.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable

from airflow_script_provider.exceptions import KubernetesApiError
from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.wording import MAX_HEADLINE, first_of, with_advice

_PATH = compiled_later(r"\bspec(?:\.[A-Za-z]\w*(?:\[[^\]\s]*\])?)+")
_CONTAINER = r"spec\.template\.spec\.(?:c|initC)ontainers(?:\[\d+\])?\."
_ARGUMENTS = tuple(
    (compiled_later(rf"{path}\b"), argument)
    for path, argument in {
        r"spec\.template\.spec\.tolerations": "tolerations",
        r"spec\.template\.spec\.affinity": "affinity",
        r"spec\.template\.spec\.nodeSelector": "node_selector",
        r"spec\.template\.spec\.imagePullSecrets": "image_pull_secrets",
        r"spec\.template\.spec\.volumes": "volumes",
        _CONTAINER + "envFrom": "env_from",
        _CONTAINER + "volumeMounts": "volume_mounts",
        _CONTAINER + "resources": "container_resources",
    }.items()
)
INVALID = (400, 422)
"""Statuses of a refusal for what the object says."""
_PASSING = frozenset({429, 500, 502, 503, 504})
_OTHER_UID = compiled_later(r"\bUID in (?:the )?precondition\b|\bmetadata\.uid: Invalid value\b")
_QUOTA_NOT_COUNTED = "status unknown for quota"
_USER = compiled_later(r'User "([^"]+)" cannot')
_NO_RIGHT = compiled_later(r'(?:\S+(?: "[^"]*")? is forbidden: )?User "[^"]*" cannot ')
"""What a refusal for a missing right begins with. A quota's or a policy's has another reason."""


def message(verb: str, resource: str, namespace: str | None, status: int, said: str) -> str:
    """The message of a refusal: call, status and advice.

    The server's message stands in the same or the next line.
    """
    if status == 401:
        head, advice = "the API server refused the credentials (401)", "Renew them in the Kubernetes connection."
    else:
        where = f" in namespace {namespace}" if namespace else ""
        head, advice = f"the API server refused to {verb} {resource}{where} ({status})", ""
    if status == 403 and "cannot" in said:
        advice = f"Check: {_can_i(verb, resource, namespace, said)}"
    whole = f"{head}: {said.strip().rstrip('.')}. {advice}".rstrip()
    if len(whole) <= MAX_HEADLINE and "\n" not in whole:
        return whole
    return with_advice(f"{head}.", advice) + f"\n{said.strip()}"


def is_passing(status: int, reason: str, said: str) -> bool:
    """Whether the same call may be granted a little later.

    A ``Conflict`` comes from other writers: calls that change the same ResourceQuota refuse each
    other. The quota of a moment ago refuses everything until it is counted.
    https://github.com/kubernetes/kubernetes/issues/67761
    """
    if status == 409:
        return reason == "Conflict" and not is_of_another_uid(said)
    return status in _PASSING or (status == 403 and _QUOTA_NOT_COUNTED in said)


def is_of_missing_right(status: int, said: str) -> bool:
    """Whether a call was refused for a missing right, and not by a quota or at admission."""
    return status == 403 and _NO_RIGHT.match(said) is not None


def is_of_another_uid(said: str) -> bool:
    """Whether a call was refused because the object of the name is not the expected one."""
    return _OTHER_UID.search(said) is not None


def is_being_deleted(said: str) -> bool:
    """Whether an object that exists already is on its way out."""
    return said.startswith("object is being deleted")


def with_exec_rights(text: str, namespace: str) -> str:
    """A refusal of an exec with both rights that it needs: a websocket is opened by a GET."""
    checks = [_can_i(verb, "pods/exec", namespace, text) for verb in ("create", "get")]
    return f"{text}\nBoth create and get on pods/exec are needed. Check: {' ; '.join(checks)}"


def missing_namespace(namespace: str, existing: Collection[str] | None, said: str) -> str:
    """The message for a namespace that does not exist.

    ``existing`` are the others, None if they cannot be listed.
    """
    first = f"namespace {namespace!r} does not exist. Create it, or set namespace to one that exists."
    if existing is None:
        return f"{first}\n{said}"
    return f"{first}\nThese do: {first_of(sorted(existing))}"


def explained(error: KubernetesApiError, given: Iterable[str]) -> KubernetesApiError:
    """The refusal of a Job, with the argument to check if it is about a field.

    Other refusals stay unchanged. ``given`` are the names of the arguments that the author has
    set.
    """
    names = arguments_in(error.server_message, given) if error.status in INVALID else []
    if not names:
        return error
    text, advice = error.message, f"Check {' and '.join(names)}."
    if "\n" not in text and len(text) + 1 + len(advice) > MAX_HEADLINE:
        text = text.replace(": ", ".\n", 1)  # advice goes before the server's message
    return error.with_message(with_advice(text, advice))


def arguments_in(said: str, given: Iterable[str]) -> list[str]:
    """The operator's arguments that the fields in a message come from, each once.

    A field whose own argument is not among the given ones was set in ``pod_overrides``.
    """
    known = set(given)
    found = (_argument_of(path) for path in _PATH.findall(said) if path.startswith("spec.template."))
    if "pod_overrides" in known:
        found = (name if name in known else "pod_overrides" for name in found)
    return list(dict.fromkeys(found))


def _argument_of(path: str) -> str:
    return next((argument for pattern, argument in _ARGUMENTS if pattern.match(path)), "pod_overrides")


def _can_i(verb: str, resource: str, namespace: str | None, said: str) -> str:
    """The kubectl line that checks the right, as the user that the server named."""
    kind, _, sub = resource.partition("/")
    user = _USER.search(said)
    words = ["kubectl", "auth", "can-i", verb, kind]
    words += [f"--subresource={sub}"] if sub else []
    words += ["-n", namespace] if namespace else []
    words += [f"--as={user[1]}"] if user else []
    return shlex.join(words)
