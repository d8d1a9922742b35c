"""What kubelets, container runtimes, registries and admission report, without their wrapping.

The messages differ between versions; the forms that are known are in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.labels import SCRIPT_CONTAINER
from airflow_script_provider.kube.wording import one_line

# Layers of kubelet, containerd and CRI-O around a registry's answer.
_PULL_WRAPPING = compiled_later(
    r"^(rpc error: code = \w+ desc = |"
    r'(Back-off pulling image "[^"]*"(: ErrImagePull)?|failed to pull (and unpack )?image "[^"]*"|'
    r'failed to resolve (reference "[^"]*"|image)|failed to copy|failed to do request|failed to authorize|'
    r'failed to fetch (anonymous|oauth) token|httpReadSeeker: failed open|(Head|Get) "[^"]*"|'
    r"unable to pull image or OCI artifact|pull image err|copying system image from manifest list|"
    r"reading manifest \S+ in \S+|pinging container registry \S+|unexpected status from \w+ request to \S+|"
    r'initializing source docker://\S+|Failed to apply default image tag "[^"]*")(: ?|$))'
)
# CRI-O's other attempt, after the image itself could not be pulled.
_OTHER_ATTEMPT = compiled_later(r"; artifact err: .*")
_REFERENCE = compiled_later(r"^(?:(?=\S+?[/:]\S(?! ))\S+: (?=not found)|[\w.:-]+(?:/[\w.-]+)+(?:[:@][\w.:-]+)?: )")
# An @ before a digest belongs to an image. Each pattern first looks once whether a word has what
# closes it, so that a long message takes no longer for its many colons.
_LOGIN = compiled_later(
    r"""(?<![^\s"@])(?=[^\s"@]*+@(?!sha256:))([^\s"@]*?://)[^\s"/?\#@:]*+(?::[^\s"@]*+)?@""",
)
_QUERY = compiled_later(r'(?<![^\s?"])(?=[^\s?"]*+\?)([^\s?"]*?://[^\s?"]+)\?[^\s"]*?(?=:?[\s"]|$)')
# An option of a mount or a program. Its value may have a comma, before which no other option begins.
_OPTION = compiled_later(
    r"""((?:pass(?:word|wd|phrase)?|pwd|secret|token|key|credentials?)=)("[^"]*"|'[^']*'|[^\s"']+?(?=,\w+=|[\s"']|$))""",
    re.IGNORECASE,
)

_FAIL_JOB = compiled_later(
    r"Container (?P<container>\S+) for pod [^\s/]+/(?P<pod>\S+) failed with exit code (?P<code>\d+) "
    r"matching FailJob rule"
)

# Layers of the API server, containerd, Docker, CRI-O and runc around the cause of a failed start.
_START_WRAPPING = compiled_later(
    r"^(failed to (create|start) containerd task|failed to create task for container|failed to create shim task|"
    r"container create failed|Internal error occurred|error executing command in container|"
    r'failed to exec in container|failed to (start|create) exec "[^"]*"|failed to load task|(runc |crun )?exec failed|'
    r"(OCI|oci) runtime (create|start|exec) failed|(runc|crun) (create|start|run) failed|container_linux\.go:\d+|"
    r"unable to start container process|"
    r"starting container process caused|error during container init|rpc error: code = \w+ desc = .*?|"
    r'error sending request|Post "[^"]*"): '  # with our own program in the URL, or a command's words
)
_LOGGED = compiled_later(r'^(?:container create failed: )?time="[^"]*" level=\w+ msg="(?P<message>.*?)"?$')
_MISSING = r"(?:executable file not found|no such file or directory|permission denied|exec format error|is a directory)"
# runc, crun and gVisor about the program itself. Hooks, mounts and folders have the same errors.
_PROGRAM_FAULTS = (
    compiled_later(rf'^exec:? "(?P<program>[^"]+)": .*{_MISSING}', re.IGNORECASE),
    compiled_later(
        rf"^exec(?: container process)? [`'\"]?(?P<program>[^\s`'\":]+)[`'\"]?: .*{_MISSING}", re.IGNORECASE
    ),
    compiled_later(r"^executable file [`'\"](?P<program>[^`'\"]+)[`'\"] not found", re.IGNORECASE),
    compiled_later(r"^error finding executable [`'\"](?P<program>[^`'\"]+)[`'\"] in PATH", re.IGNORECASE),
)
_QUOTED = compiled_later(r"""(["'`])(?:\\.|(?!\1).)*[`'"]""")
_NOT_THERE = compiled_later(r"executable file|not found|no such file|finding executable", re.IGNORECASE)

# What admission answers in the same way again. A quota may be freed, a webhook may come back.
_CREATING = compiled_later(r'^Error creating: (pods "[^"]*" is forbidden: |Pod "[^"]*" is invalid: )?')
_POLICY = compiled_later(
    r"^ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '[^']+' denied request: (?P<text>.+)"
)
_WEBHOOK = compiled_later(r'^admission webhook "(?P<name>[^"]+)" denied the request: (?P<text>.+)')
# The status of a request that may succeed later. A policy may be about such a status.
_PASSING_STATUS = r"\b(status( code)?|HTTP( error| status)?( code)?|HTTP/[\d.]+)[ :=]*(429|5\d\d)\b"
# A webhook that asks a registry or another server denies while that does not answer. The word
# timeout alone may be a field that a policy wants.
_UNANSWERED = compiled_later(
    r"deadline ?exceeded|\b(i/o|handshake|gateway) time-?out\b|client\.timeout|timeout (exceeded|awaiting)|"
    r"\b(request|connection|operation|call) timed out|timed out waiting|request canceled|context canceled|"
    r"\bdial (tcp|udp)\b|connection (was )?(refused|reset|lost|closed)|closed (idle|network) connection|"
    r"sent goaway|stream error: stream id|broken pipe|no such host|server misbehaving|"
    r"temporary failure in name resolution|network is unreachable|no route to host|(?<!\w)EOF\b|"
    r"too ?many ?requests|rate (limit(ed)? )?exceeded|internal server error|internal error occurred|bad gateway|"
    r"service (temporarily )?unavailable|unable to (handle the request|return a response in the time allotted)|"
    r"\betcdserver: (leader changed|no leader)|cache (is )?not (yet )?synced|"
    r"\bcode = (unavailable|resourceexhausted)\b|"
    rf"(^|: ){_PASSING_STATUS}(?=$|[:;,.)\"])|{_PASSING_STATUS} (from|while|returned|received)\b|"
    r"\b(unexpected|unsuccessful|bad|non-2\w\w|got|received|returned|responded|answered|replied|failed with)( with)?:? "
    rf"(an? )?((HTTP|response|error) )*{_PASSING_STATUS}|\bstatus from \w+ request to \S+: (429|5\d\d)\b",
    re.IGNORECASE,
)
_FINAL = compiled_later(
    r"violates PodSecurity|(maximum|minimum) \S+ usage per (Container|Pod) is|max limit to request ratio per|"
    r"unable to validate against any security context constraint|no PriorityClass with name|"
    r"failed quota: [^\s:]+: must specify "
)

# Layers of the Job controller, kubelets, runtimes and network plugins around the cause of an event.
_EVENT_WRAPPING = compiled_later(
    r"^(\(combined from similar events\): |Error creating: |Internal error occurred: |"
    r'pods "[^"]*" is forbidden: |Pod "[^"]*" is invalid: |error looking up service account \S+: |'
    r"Failed (to )?create pod sandbox: |rpc error: code = \w+ desc = |"
    r'failed to (setup|set up) network for sandbox "[^"]*": |'
    r'failed to (setup|set up) sandbox container "[^"]*" network for pod "[^"]*": |'
    r'networkPlugin cni failed to set up pod "[^"]*" network: |failed to create pod network sandbox \S+: |'
    r'error adding pod \S+ to CNI network "[^"]*": |plugin type="[^"]*"( name="[^"]*")? failed \(\w+\): |'
    r'failed to allocate for range \d+: |failed to call webhook: |Post "[^"]*": |'
    r"mount failed: .*? Output: )",
    re.IGNORECASE,
)
# What these layers are about is part of the cause.
_SUBJECT = compiled_later(
    r'^(?:\w+Volume\.\w+ failed for (?P<volume>volume "[^"]*") ?|(?P<webhook>failed calling webhook "[^"]*")): '
)

# A readiness probe ends nothing. What follows is what the probe printed.
_FAILED_PROBE = compiled_later(r"(Liveness|Startup) probe (failed|errored)")
# Events that say that the kubelet ended a container, the more telling ones first.
_STOPS = ("Evicted", "Preempting", "NodeShutdown", "Killing")
_MOST_EVENTS = 25
"""Events of a pod after which a kubelet drops new ones for minutes, by the filter of client-go."""
_STOPPING = ("Killing", f"Stopping container {SCRIPT_CONTAINER}")


@dataclass(frozen=True)
class ProgramFault:
    """A program that cannot be executed; ``is_missing`` if the image does not have it."""

    program: str
    is_missing: bool


def registry_answer(message: str, image: str = "") -> str:
    """Why an image cannot be pulled: the registry's answer, or what kept it from answering.

    It is empty where the message only says that the kubelet waits before it tries again.
    """
    answer = _unwrapped(_PULL_WRAPPING, _OTHER_ATTEMPT.sub("", one_line(message)))
    answer = answer.removeprefix(f"{image}: ") if image else answer
    return without_logins(_REFERENCE.sub("", answer))


def without_logins(message: str) -> str:
    """The message without logins and queries of URLs, and without passwords as options.

    A registry may answer with a signed URL, and a kubelet quotes the options of a mount.
    """
    return _OPTION.sub(r"\1***", _QUERY.sub(r"\1?…", _LOGIN.sub(r"\1***@", message)))


def start_error(message: str) -> str:
    """Why a container or an exec could not be started, in the container runtime's last words."""
    text = one_line(message)
    if logged := _LOGGED.match(text):  # CRI-O passes a line of runc's log
        text = logged["message"].replace('\\"', '"')
    return _unwrapped(_START_WRAPPING, text).removesuffix(": unknown")


def without_quotes(text: str) -> str:
    """What a container runtime reports, without what it quotes of the container: any value."""
    return _QUOTED.sub('"…"', text)


def program_fault(message: str) -> ProgramFault | None:
    """The program that a failed start is about, None if it is about anything else."""
    cause = start_error(message)
    found = next((match for pattern in _PROGRAM_FAULTS if (match := pattern.search(cause))), None)
    return ProgramFault(found["program"], bool(_NOT_THERE.search(cause))) if found else None


def refusal(event: Mapping[str, Any]) -> str | None:
    """Why admission refuses the pods of a Job for good, by an event of the Job; None otherwise."""
    if event.get("reason") != "FailedCreate":
        return None
    text = _CREATING.sub("", one_line(event.get("message") or ""))
    if found := _POLICY.search(text):
        return f"ValidatingAdmissionPolicy {found['name']} denied its pod: {found['text']}"
    if found := _WEBHOOK.search(text):
        is_passing = _UNANSWERED.search(found["text"])
        return None if is_passing else f"admission webhook {found['name']} denied its pod: {found['text']}"
    return f"its pod is refused: {text}" if _FINAL.search(text) else None


def event_cause(message: str) -> str:
    """Why a pod was not created or cannot start, by the message of an event."""
    text = _unwrapped(_EVENT_WRAPPING, message)
    if found := _SUBJECT.match(text):
        return f"{found['volume'] or found['webhook']}: {_unwrapped(_EVENT_WRAPPING, text[found.end() :])}"
    return text


def stop(events: Iterable[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Reason and message of the event that the kubelet stopped the script, None without one.

    If it stops a whole pod for a probe of its only container, another event names the probe.
    """
    found, probe = {}, ""
    for event in events:
        reason, message = event.get("reason"), one_line(event.get("message") or "")
        is_of_script = _is_of_script(event)
        if is_of_script and (failed := _FAILED_PROBE.match(message)):
            probe = failed[0]
        if reason != "Killing" or is_of_script:
            found[reason] = message
    if probe and "Killing" in found and "probe" not in found["Killing"]:
        found["Killing"] = f"{found['Killing']}: {probe}"
    return next(((reason, found[reason]) for reason in _STOPS if reason in found), None)


def stop_of_suspect(events: Sequence[Mapping[str, Any]], suspected: tuple[str, str]) -> tuple[str, str] | None:
    """The same of a script that its pod's deletion may have stopped, by the pod's status.

    An event without a cause of its own has that of the status. Events expire after an hour, and a
    kubelet drops those of a pod that has many: only those that go back to the script's start, and
    are few, say that the kubelet did not stop it.
    """
    if found := stop(events):
        return suspected if found == _STOPPING else found
    reach_back = any(event.get("reason") == "Started" and _is_of_script(event) for event in events)
    are_few = sum(event.get("count") or 1 for event in events) < _MOST_EVENTS
    return None if reach_back and are_few else suspected


def last_started(events: Iterable[Mapping[str, Any]]) -> str | None:
    """The name of the pod whose script has started last, None if no event reports a start."""
    started = [event for event in events if event.get("reason") == "Started" and _is_of_script(event)]
    last = max(started, key=lambda event: event.get("firstTimestamp") or event.get("eventTime") or "", default=None)
    return None if last is None else str(last["involvedObject"]["name"])


def _is_of_script(event: Mapping[str, Any]) -> bool:
    path: str = event.get("involvedObject", {}).get("fieldPath", "")
    return path == f"spec.containers{{{SCRIPT_CONTAINER}}}"


def _unwrapped(wrapping: re.Pattern[str], text: str) -> str:
    """The text without the layers at its start."""
    while (inner := wrapping.sub("", text, count=1)) != text:
        text = inner
    return text


def final_code(message: str) -> int | None:
    """The script's exit code in a Job's condition, None unless the code has ended the Job.

    The form is that of Kubernetes 1.31 to 1.37:
    https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/controller/job/pod_failure_policy.go
    """
    found = _FAIL_JOB.match(message)
    return int(found["code"]) if found and found["container"] == SCRIPT_CONTAINER else None


def failed_pod(message: str) -> str | None:
    """The name of the pod that has ended its Job by an exit code, by the Job's condition."""
    found = _FAIL_JOB.match(message)
    return found["pod"] if found else None
