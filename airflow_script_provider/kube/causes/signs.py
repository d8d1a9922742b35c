"""Signs of a cause: Kubernetes' words, and what messages and output say. Each has its category.

The more telling signs come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_script_provider.kube.causes.patterns import compiled_later
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
    return Sign(compiled_later(pattern, flags), category, advice)


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
    _sign(
        "exceeded quota|is waiting for quota",
        Category.EXCEEDED_QUOTA,
        "Ask for less in container_resources, or free some of the quota.",
    ),
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
    _sign(r"Insufficient [\w./-]+", None, "Ask for less in container_resources, or add nodes."),
    _sign("didn't match Pod's node affinity/selector", None, "Check node_selector and affinity."),
    _sign(r"untolerated taint(?!\S* \{node\.)", None, "Set tolerations."),
    _sign("ImagePullBackOff|ErrImagePull|InvalidImageName", None, "Check image and image_pull_secrets."),
    _sign(
        r"failed (liveness|startup) probe|(Liveness|Startup) probe (failed|errored)",
        None,
        "Change this probe in pod_overrides.",
    ),
    _sign("active on the node longer than the specified", None, "Raise activeDeadlineSeconds in pod_overrides."),
    _sign(
        r"EmptyDir volume \S+ exceeds",
        Category.STORAGE_LIMIT_EXCEEDED,
        "Raise the volume's sizeLimit, or write less.",
        _ANY_CASE,
    ),
    _sign(
        r"ephemeral local storage usage exceeds|exceeded its local ephemeral storage",
        Category.STORAGE_LIMIT_EXCEEDED,
        "Raise container_resources limits ephemeral-storage, or write less.",
        _ANY_CASE,
    ),
)
"""Messages of admission, the scheduler, kubelets and events."""

OF_A_REGISTRY = (
    _sign(r"SignatureValidationFailed", Category.SIGNATURE_VALIDATION_FAILED),
    _sign(
        r"unauthorized|access denied|denied:|is denied|403 Forbidden|authorization failed|insufficient_scope|"
        r"no basic auth",
        Category.IMAGE_UNAUTHORIZED,
        flags=_ANY_CASE,
    ),
    _sign(r"invalid reference", Category.INVALID_IMAGE_NAME, flags=_ANY_CASE),
    _sign(
        r"^(?!.*(snapshot|content digest|executable file)).*(not found|manifest unknown|name unknown|"
        r"no match for platform|no matching manifest|no image found in)",
        Category.IMAGE_NOT_FOUND,
        flags=_ANY_CASE | re.DOTALL,
    ),
)
"""Answers to the question for an image."""

OF_AN_ERROR = (
    _sign(r"ModuleNotFoundError: No module named .* is not a package", Category.MODULE_NOT_FOUND),
    _sign(
        r"ModuleNotFoundError: No module named|^\S*python[\d.]*: No module named",
        Category.MODULE_NOT_FOUND,
        "Add it to install_dependencies.",
    ),
    _sign(
        r"^(Uncaught )?Error( \[\w+\])?: Cannot find (module|package) '[^./]",
        Category.MODULE_NOT_FOUND,
        "Use an image that has it, or add it to files.",
    ),
    _sign(
        r"^Can't locate \S+ in @INC|^Error in .*: there is no package called|"
        r"cannot load such file -- [^./].*\(LoadError\)$",
        Category.MODULE_NOT_FOUND,
        "Use an image that has it.",
    ),
    _sign(r"^(\w+\.)*_?(Array|Arrow)?MemoryError\b", Category.MEMORY_ERROR, "Raise container_resources limits memory."),
    _sign(
        # Python, Node.js and drivers of databases; Ruby and SQLAlchemy; shells and awk; psql; PHP; Perl; SQLite;
        # jq; BigQuery; MySQL.
        r"^(\w+\.)*(SyntaxError(?!.*JSON)|IndentationError|TabError)\b|\((\w+\.)*SyntaxError\)|"
        r"^\S+: (-c: )?(line )?\d+: (\S+: )?[Ss]yntax error\b|^(\S*/)?\w*sh: syntax error\b|"
        r"^(\S+: )?ERROR: +syntax error at |^(PHP )?Parse error: +syntax error\b|^syntax error at \S+ line \d+|"
        r"^sqlite3\.\w+: near .*: syntax error$|^jq: error: syntax error\b|"
        r"^(\w+\.)*BadRequest: 400 (.*: )?Syntax error: |\b1064\b.*\bYou have an error in your SQL syntax",
        Category.SYNTAX_ERROR,
    ),
)
"""The error that ended a script. In other lines it may be one that was handled."""

OF_A_CRASH = (
    _sign(
        r"^FATAL ERROR: .*heap out of memory|^Error \[ERR_WORKER_OUT_OF_MEMORY\]|"
        r'^(Exception in thread ".*" |Caused by: |(Terminating|Aborting) due to )?java\.lang\.OutOfMemoryError',
        Category.MEMORY_ERROR,
        "Raise container_resources limits memory.",
    ),
    _sign(
        r"^(\w+\.)*(CalledProcessError: .* died with <Signals\.SIGKILL|BrokenProcessPool\b)",
        Category.KILLED,
        "A process that the script started was killed, perhaps for memory.",
    ),
)
"""What ends a script wherever it stands near the end, as it is reported by what ends.

In another line, such as a record of a logger, it was handled.
"""

OF_OUTPUT = (
    *OF_A_CRASH,
    _sign(
        r"heap out of memory|java\.lang\.OutOfMemoryError",
        Category.MEMORY_ERROR,
        "Raise container_resources limits memory.",
    ),
    _sign(
        r"died with <Signals\.SIGKILL|BrokenProcessPool|process pool was terminated abruptly",
        Category.KILLED,
        "A process that the script started was killed, perhaps for memory.",
    ),
    _sign(
        r"\bEROFS\b|\[Errno 30\]|Read-only file system",
        Category.READ_ONLY_FILE_SYSTEM,
        "Write to /tmp, or mount a volume.",
    ),
    _sign(
        r"\bENOSPC\b|\[Errno 28\]|No space left on device|enough free space",
        Category.NO_SPACE_LEFT,
        "Free space, or mount a larger volume.",
    ),
    _sign(
        r"\bENOMEM\b|\[Errno 12\]|Cannot allocate memory",
        Category.MEMORY_ERROR,
        "Raise container_resources limits memory.",
    ),
    _sign(
        r"(setgroups|setegid|seteuid|\b_apt\b|/var/(lib|cache)/(apt|dpkg)|dpkg:|Unable to lock database|rpmdb|"
        r"apk-tools).*(denied|not permitted|superuser)|superuser privilege",
        Category.PERMISSION_DENIED,
        "Use install_packages.",
    ),
    _sign(
        "operation not permitted",
        Category.MISSING_CAPABILITY,
        "The container may lack a capability: add it in pod_overrides.",
        _ANY_CASE,
    ),
    _sign(r"Permission denied \([\w,-]+\)\.?$", Category.AUTHENTICATION_FAILED),
    _sign(
        r"\bEACCES\b|\[Errno 13\]|\bnio\.file\.AccessDeniedException|"
        r"[Pp]ermission denied(: '[^']*'|\)| at \S+ line \d+\.)?$",
        Category.PERMISSION_DENIED,
        "Its user may not: set run_as_uid, or add the capability DAC_OVERRIDE in pod_overrides.",
    ),
    _sign(
        r"\bexec format error",
        Category.NOT_EXECUTABLE,
        "It is built for other processors: choose nodes by kubernetes.io/arch in node_selector.",
        _ANY_CASE,
    ),
    _sign(
        r"(failure in|server) name resolution|failure resolving|Name or service not known|"
        r"unable to resolve host address|"
        r"Could not resolve (host|proxy)|Failed to fetch .*Could not resolve|getaddrinfo|"
        r"\bENOTFOUND\b|\bEAI_AGAIN\b|could not translate host name|no such host\b|"
        r"Unknown (MySQL server )?host|UnknownHostException|"
        r"\b(wget|ping6?|nc|telnet|traceroute6?|ssl_client): bad address",
        Category.NAME_NOT_RESOLVED,
        "Check the host's name, and whether a NetworkPolicy lets the pod reach the DNS.",
        _ANY_CASE,
    ),
    _sign(
        r"too many (clients|connections)|remaining connection slots|database system is (starting up|shutting down)",
        Category.CONNECTION_REFUSED,
        flags=_ANY_CASE,
    ),
    _sign(
        r"connection ?refused|\bECONNREFUSED\b|\[Errno 111\]|Can't connect to .*\(111\b|curl: \(7\)|"
        r"Connect call failed",
        Category.CONNECTION_REFUSED,
        "Check that the server runs at this address and port.",
        _ANY_CASE,
    ),
    _sign(
        r"network is unreachable|no route to host|\bEHOSTUNREACH\b|\bETIMEDOUT\b|\[Errno 110\]|"
        r"(connection|operation|connect) timed out|^TimeoutError: timed out|ConnectTimeout|timeout was reached|"
        r"connection timeout",
        Category.HOST_UNREACHABLE,
        "Check whether a NetworkPolicy lets the pod reach the server.",
        _ANY_CASE,
    ),
    _sign(
        r"authentication failed|Access denied for user|Login failed for user|ORA-01017",
        Category.AUTHENTICATION_FAILED,
        flags=_ANY_CASE,
    ),
    _sign(
        r"self.signed certificate|unable to get local issuer certificate|PKIX path building failed|"
        r"x509: certificate signed by unknown authority|unable to locally verify the issuer's authority|"
        r"\bcertificate of \S+ (is not trusted|doesn't have a known issuer)",
        Category.CERTIFICATE_INVALID,
        "Mount the authority's certificate, and name it in SSL_CERT_FILE or REQUESTS_CA_BUNDLE.",
        _ANY_CASE,
    ),
    _sign(
        r"CERTIFICATE_VERIFY_FAILED|certificate (of \S+ )?(has expired|verify failed)|Hostname mismatch|x509: |"
        r"no (alternative certificate subject name|certificate subject alternative name) matches|"
        r"certificate's owner does not match hostname|SSL certificate problem: ",
        Category.CERTIFICATE_INVALID,
        flags=_ANY_CASE,
    ),
    _sign(r"\bENOENT\b|\[Errno 2\]|No such file or directory|FileNotFoundException", Category.FILE_NOT_FOUND),
)
"""Lines at the end of a failed script's output."""

OF_AN_INSTALLATION = (
    _sign(
        r"could not resolve|failure resolving|name resolution|dns error|transient error|temporary error|"
        r"no matching distribution|connection|connect |timed out|timeout|proxy|max retries|offline|request failed|"
        r"error sending request|(download|fetch)(ing)? .*(failed|metadata)|cannot download|download metadata",
        Category.PACKAGE_INDEX_UNREACHABLE,
        flags=_ANY_CASE,
    ),
)
"""Why pip, uv or a package manager installed nothing, where another attempt may."""

OF_HOOKS = (
    "PostStartHookError", "FailedPostStartHook", "FailedPreStopHook", "Unhealthy", "ProbeError", "ProbeWarning",
)  # fmt: skip
"""Kubernetes' words whose messages quote what a hook or a probe printed."""
OF_RUNTIMES = ("CreateContainerError", "RunContainerError")
"""Kubernetes' words whose messages are those of container runtimes."""

_WORDS = {
    "ImagePullBackOff": Category.ERR_IMAGE_PULL,
    "ImageInspectError": Category.ERR_IMAGE_PULL,
    "RegistryUnavailable": Category.ERR_IMAGE_PULL,
    "PreCreateHookError": Category.CREATE_CONTAINER_ERROR,
    "PreStartHookError": Category.START_ERROR,
    "RunContainerError": Category.START_ERROR,
    "ContainerCannotRun": Category.START_ERROR,
    "Unknown": Category.CONTAINER_STATUS_UNKNOWN,
    "CrashLoopBackOff": Category.INIT_CONTAINER_FAILED,
    "SchedulerError": Category.UNSCHEDULABLE,
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
    "MaxFailedIndexesExceeded": Category.BACKOFF_LIMIT_EXCEEDED,
    "FailedIndexes": Category.BACKOFF_LIMIT_EXCEEDED,
}
"""Kubernetes' words of which the category has another name."""

_OF_A_KUBELET_THAT_REFUSES = frozenset(
    [
        "AppArmor", "InitContainerRestartPolicyForbidden", "InvalidNodeInfo", "NodeAffinity", "NodeName", "NodePorts",
        "PodFeatureUnsupported", "PodLevelResourcesNotSupported", "PodOSNotSupported",
        "PodOSSelectorNodeLabelDoesNotMatch", "SMTAlignmentError", "SupplementalGroupsPolicyNotSupported",
        "SysctlForbidden", "TaintToleration", "TopologyAffinityError", "UnexpectedAdmissionError",
        "UnexpectedPredicateFailureType", "UnknownReason", "VolumeAttachmentLimitExceeded",
    ]
)  # fmt: skip
_ITS_OWN_NAMES = frozenset(
    {
        Category.DEADLINE_EXCEEDED, Category.FAILED_CREATE, Category.UNSCHEDULABLE, Category.SCHEDULING_GATED,
        Category.INVALID_IMAGE_NAME, Category.ERR_IMAGE_NEVER_PULL, Category.SIGNATURE_VALIDATION_FAILED,
        Category.ERR_IMAGE_PULL, Category.FAILED_MOUNT, Category.FAILED_ATTACH_VOLUME,
        Category.FAILED_CREATE_POD_SANDBOX, Category.CREATE_CONTAINER_CONFIG_ERROR, Category.CREATE_CONTAINER_ERROR,
        Category.START_ERROR, Category.POST_START_HOOK_ERROR, Category.EVICTED, Category.PREEMPTED,
        Category.EVICTION_BY_API, Category.NODE_SHUTDOWN, Category.CONTAINER_STATUS_UNKNOWN,
        Category.BACKOFF_LIMIT_EXCEEDED, Category.POD_FAILURE_POLICY, Category.OOM_KILLED,
    }
)  # fmt: skip
"""Categories that are Kubernetes' words."""


def first(signs: Iterable[Sign], text: str) -> Sign | None:
    """The first sign that the text has, None if it has none."""
    return next((sign for sign in signs if sign.pattern.search(text)), None)


def advice(signs: Iterable[Sign], text: str) -> str:
    """What the first sign advises, empty without advice."""
    found = first(signs, text)
    return found.advice if found else ""


_OF_A_POD_OF_OURS = compiled_later(
    r"\b(install_dependencies|install_packages|run_as_uid|pod_overrides|container_resources|node_selector)\b"
)
_IN_A_RUNNING_POD = {
    Category.MODULE_NOT_FOUND: "The image lacks it.",
    Category.MEMORY_ERROR: "The container's memory limit may be too low.",
    Category.MISSING_CAPABILITY: "The container may lack a capability.",
    Category.PERMISSION_DENIED: "The container's user may not.",
    Category.NOT_EXECUTABLE: "It is built for other processors.",
}


def advice_in_a_running_pod(advice: str, category: Category) -> str:
    """The advice for a pod that has its image, user and limits from its author.

    The arguments that shape the pod of a Job do not exist there.
    """
    return _IN_A_RUNNING_POD.get(category, "") if _OF_A_POD_OF_OURS.search(advice) else advice


def category_of_word(word: str | None) -> Category | None:
    """The category of Kubernetes' own word, None for a word that tells nothing."""
    if not word:
        return None
    if word.startswith("OutOf") or word in _OF_A_KUBELET_THAT_REFUSES:  # OutOfcpu, OutOfpods and so on
        return Category.REJECTED_BY_NODE
    return _WORDS.get(word) or next((category for category in _ITS_OWN_NAMES if category == word), None)


def category_of(signs: Sequence[Sign], text: str, word: str | None) -> Category | None:
    """The category by what a message says, otherwise by Kubernetes' word."""
    found = first((sign for sign in signs if sign.category), text)
    return found.category if found else category_of_word(word)
