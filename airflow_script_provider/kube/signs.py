"""Signs of a cause: Kubernetes' words, and what messages and output say. Each has its category.

The more telling signs come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_script_provider.result import Category


@dataclass(frozen=True)
class Sign:
    """A text that tells a cause.

    ``category`` is None where the text tells only what to do. ``advice`` is empty without any.
    """

    pattern: re.Pattern[str]
    category: Category | None
    advice: str = ""


def _sign(pattern: str, category: Category | None, advice: str = "", flags: int = 0) -> Sign:
    return Sign(re.compile(pattern, flags), category, advice)


_ANY_CASE = re.IGNORECASE

OF_THE_CLUSTER = (
    _sign(r"violates PodSecurity.*runAsNonRoot", Category.POD_SECURITY, "Set run_as_uid.", re.DOTALL),
    _sign("violates PodSecurity", Category.POD_SECURITY, "Ask for less in pod_overrides, or choose another namespace."),
    _sign(r"admission webhook|ValidatingAdmissionPolicy|security context constraint", Category.ADMISSION_DENIED),
    _sign(
        r"must specify .*(limits|requests)",
        Category.EXCEEDED_QUOTA,
        "Set container_resources with what the quota counts.",
    ),
    _sign("exceeded quota", Category.EXCEEDED_QUOTA, "Ask for less in container_resources, or free some of the quota."),
    _sign(
        r"(maximum|minimum) \S+ usage per|max limit to request ratio",
        Category.LIMIT_RANGE,
        "Set container_resources within the namespace's LimitRange.",
    ),
    _sign(
        r"service ?account .*not found",
        Category.SERVICE_ACCOUNT_NOT_FOUND,
        "Create it, or change service_account_name.",
        _ANY_CASE,
    ),
    _sign(r"secret .*not found|configmap .*not found", None, "Create it, or change env_from or volumes.", _ANY_CASE),
    _sign(r"persistentvolumeclaim .*not found", None, "Create it, or change volumes."),
    _sign(r"Insufficient (cpu|memory)", None, "Ask for less in container_resources, or add nodes."),
    _sign("didn't match Pod's node affinity/selector", None, "Check node_selector and affinity."),
    _sign("untolerated taint", None, "Set tolerations."),
    _sign("ImagePullBackOff|ErrImagePull|InvalidImageName", None, "Check image and image_pull_secrets."),
    _sign("active on the node longer than the specified", None, "Raise activeDeadlineSeconds in pod_overrides."),
    _sign(
        r"ephemeral local storage usage exceeds|EmptyDir volume \S+ exceeds|exceeded its local ephemeral storage",
        Category.STORAGE_LIMIT_EXCEEDED,
        "Raise container_resources limits ephemeral-storage, or write less.",
        _ANY_CASE,
    ),
    _sign(
        r"ephemeral.(local )?storage",
        None,
        "Raise container_resources limits ephemeral-storage, or write less.",
        _ANY_CASE,
    ),
)
"""Messages of admission, the scheduler, kubelets and events."""

OF_A_REGISTRY = (
    _sign(
        r"unauthorized|access denied|denied:|authorization failed|insufficient_scope|no basic auth",
        Category.IMAGE_UNAUTHORIZED,
        flags=_ANY_CASE,
    ),
    _sign(r"invalid reference", Category.INVALID_IMAGE_NAME, flags=_ANY_CASE),
    _sign(
        r"not found|manifest unknown|name unknown|no match for platform", Category.IMAGE_NOT_FOUND, flags=_ANY_CASE
    ),
)  # fmt: skip
"""Answers to the question for an image."""

OF_AN_ERROR = (
    _sign(
        r"ModuleNotFoundError: No module named|python[\d.]*: No module named",
        Category.MODULE_NOT_FOUND,
        "Add it to install_dependencies.",
    ),
    _sign(
        r"Cannot find (module|package) '[^./]",
        Category.MODULE_NOT_FOUND,
        "Use an image that has it, or add it to files.",
    ),
    _sign(r"^(\w+Error: )?.*No module named|Can't locate \S+ in @INC|^ImportError\b", Category.MODULE_NOT_FOUND),
    _sign(r"^MemoryError\b", Category.MEMORY_ERROR, "Raise container_resources limits memory."),
    _sign(r"^(SyntaxError|IndentationError|TabError)\b|[Ss]yntax error\b", Category.SYNTAX_ERROR),
)
"""The error that ended a script. In other lines it may be one that was handled."""

OF_OUTPUT = (
    _sign(
        r"setgroups|setegid|seteuid|\b_apt\b|/var/(lib|cache)/(apt|dpkg)|dpkg:|Unable to lock database|"
        r"superuser privileges|rpmdb|apk-tools",
        Category.PERMISSION_DENIED,
        "Use install_packages.",
    ),
    _sign(
        "operation not permitted",
        Category.MISSING_CAPABILITY,
        "The container has no capabilities; add the one it needs in pod_overrides.",
        _ANY_CASE,
    ),
    _sign(
        r"\bEACCES\b|\[Errno 13\]|Permission denied(:? '[^']*')?$",
        Category.PERMISSION_DENIED,
        "Its user may not: set run_as_uid, or add the capability DAC_OVERRIDE in pod_overrides.",
    ),
    _sign(
        r"\bEROFS\b|\[Errno 30\]|Read-only file system",
        Category.READ_ONLY_FILE_SYSTEM,
        "Write to /tmp, or mount a volume.",
    ),
    _sign(
        r"\bENOSPC\b|\[Errno 28\]|No space left on device",
        Category.NO_SPACE_LEFT,
        "Free space, or mount a larger volume.",
    ),
    _sign(
        r"\bENOMEM\b|\[Errno 12\]|Cannot allocate memory|heap out of memory",
        Category.MEMORY_ERROR,
        "Raise container_resources limits memory.",
    ),
    _sign(
        r"\bexec format error",
        Category.NOT_EXECUTABLE,
        "It is built for other processors: choose nodes by kubernetes.io/arch in node_selector.",
        _ANY_CASE,
    ),
    _sign(
        r"name resolution|Name or service not known|Could not resolve|getaddrinfo|\bENOTFOUND\b|\bEAI_AGAIN\b|"
        r"could not translate host name|no such host\b|Unknown (MySQL server )?host",
        Category.NAME_NOT_RESOLVED,
        "Check the host's name, and whether a NetworkPolicy lets the pod reach the DNS.",
        _ANY_CASE,
    ),
    _sign(
        r"connection ?refused|\bECONNREFUSED\b|\[Errno 111\]|database system is (starting up|shutting down)|"
        r"too many (clients|connections)",
        Category.CONNECTION_REFUSED,
        "Check that the server runs at this address and port.",
        _ANY_CASE,
    ),
    _sign(
        r"network is unreachable|no route to host|\bEHOSTUNREACH\b|"
        r"(connection|operation|connect) timed out|^TimeoutError: timed out|"
        r"ConnectTimeout|\bETIMEDOUT\b|\[Errno 110\]|connection timeout",
        Category.HOST_UNREACHABLE,
        "Check whether a NetworkPolicy lets the pod reach the server.",
        _ANY_CASE,
    ),
    _sign(
        r"authentication failed|Access denied for user|Login failed for user|ORA-01017|\(publickey\)",
        Category.AUTHENTICATION_FAILED,
        flags=_ANY_CASE,
    ),
    _sign(
        r"CERTIFICATE_VERIFY_FAILED|self.signed certificate|unable to get local issuer certificate|"
        r"certificate (has expired|verify failed)",
        Category.CERTIFICATE_INVALID,
        "Mount the authority's certificate, and name it in SSL_CERT_FILE.",
        _ANY_CASE,
    ),
    _sign(r"\bENOENT\b|\[Errno 2\]|No such file or directory", Category.FILE_NOT_FOUND),
)  # fmt: skip
"""Lines near the end of a failed script's output."""

OF_AN_INSTALLATION = (
    _sign(
        r"could not resolve|failure resolving|name resolution|download metadata|connection|connect |"
        r"timed out|timeout|proxy|max retries|retrying|offline|dns error|"
        r"request failed|error sending request",
        Category.PACKAGE_INDEX_UNREACHABLE,
        flags=_ANY_CASE,
    ),
)
"""Why pip, uv or a package manager installed nothing."""

_WORDS = {
    "PodSecurity": Category.POD_SECURITY,
    "ImagePullBackOff": Category.ERR_IMAGE_PULL,
    "ImageInspectError": Category.ERR_IMAGE_PULL,
    "RegistryUnavailable": Category.ERR_IMAGE_PULL,
    "RunContainerError": Category.START_ERROR,
    "ContainerCannotRun": Category.START_ERROR,
    "CreatePodSandboxError": Category.FAILED_CREATE_POD_SANDBOX,
    "FailedMapVolume": Category.FAILED_MOUNT,
    "FailedPostStartHook": Category.POST_START_HOOK_ERROR,
    "Preempting": Category.PREEMPTED,
    "PreemptionByScheduler": Category.PREEMPTED,
    "PreemptionByKubeScheduler": Category.PREEMPTED,
    "TerminationByKubelet": Category.EVICTED,
    "Terminated": Category.NODE_SHUTDOWN,
    "Shutdown": Category.NODE_SHUTDOWN,
    "DeletionByTaintManager": Category.NODE_UNREACHABLE,
    "NodeLost": Category.NODE_UNREACHABLE,
    "DeletionByPodGC": Category.NODE_GONE,
    "Killing": Category.STOPPED,
    "UnexpectedAdmissionError": Category.REJECTED_BY_NODE,
    "NodeAffinity": Category.REJECTED_BY_NODE,
    "NodePorts": Category.REJECTED_BY_NODE,
    "NodeName": Category.REJECTED_BY_NODE,
    "TopologyAffinityError": Category.REJECTED_BY_NODE,
    "SMTAlignmentError": Category.REJECTED_BY_NODE,
    "AppArmor": Category.REJECTED_BY_NODE,
    "SysctlForbidden": Category.REJECTED_BY_NODE,
    "TaintToleration": Category.REJECTED_BY_NODE,
    "MaxFailedIndexesExceeded": Category.BACKOFF_LIMIT_EXCEEDED,
    "FailedIndexes": Category.BACKOFF_LIMIT_EXCEEDED,
}
"""Kubernetes' words of which the category has another name."""


def first(signs: Iterable[Sign], text: str) -> Sign | None:
    """The first sign that the text has, None if it has none."""
    return next((sign for sign in signs if sign.pattern.search(text)), None)


def advice(signs: Iterable[Sign], text: str) -> str:
    """What the first sign advises, empty without advice."""
    found = first(signs, text)
    return found.advice if found else ""


def category_of_word(word: str | None) -> Category | None:
    """The category of Kubernetes' own word, None for a word that tells nothing."""
    if not word:
        return None
    if word.startswith("OutOf"):  # OutOfcpu, OutOfpods and so on
        return Category.REJECTED_BY_NODE
    return _WORDS.get(word) or next((category for category in _NAMED_AS_KUBERNETES if category == word), None)


def category_of(signs: Sequence[Sign], text: str, word: str | None) -> Category | None:
    """The category by what a message says, otherwise by Kubernetes' word."""
    said = next((sign for sign in signs if sign.category and sign.pattern.search(text)), None)
    return said.category if said else category_of_word(word)


_NAMED_AS_KUBERNETES = frozenset(Category) - {Category.ERROR, Category.UNKNOWN}
