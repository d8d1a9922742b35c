"""Why a run failed, in one line: the object, what was seen, what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_script_provider.kube.job import pod_status
from airflow_script_provider.kube.job.pod_status import ContainerEnd, Pod
from airflow_script_provider.kube.job.progress import Cause, Limits, Verdict, View
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER, SCRIPT_FOLDER
from airflow_script_provider.kube.wording import headline_of, one_line, signal_name

_CAPABILITY_SIGNS = re.compile(r"operation not permitted", re.IGNORECASE)
_MISSING_SIGNS = re.compile(r"no such file|not found|cannot open|can't open|enoent", re.IGNORECASE)
# The home of a user without an entry in the image's passwd is /, as in '//.cache' and '/.local/bin'.
_HOME_IS_ROOT = re.compile(r"(?:^|[\s'‘\":])//?\.[a-z]", re.IGNORECASE)
_DENIED_SIGNS = re.compile(r"permission denied|cannot create|read-only file system", re.IGNORECASE)
_HINTS = (
    (re.compile(r"violates PodSecurity.*runAsNonRoot", re.DOTALL), "Set run_as_uid."),
    (re.compile(r"violates PodSecurity"), "Ask for less in pod_overrides, or choose another namespace."),
    (re.compile(r"must specify .*(limits|requests)"), "Set container_resources with what the quota counts."),
    (re.compile(r"exceeded quota"), "Ask for less in container_resources, or free some of the quota."),
    (re.compile(r"service ?account .*not found", re.IGNORECASE), "Create it, or change service_account_name."),
    (
        re.compile(r"secret .*not found|configmap .*not found", re.IGNORECASE),
        "Create it, or change env_from or volumes.",
    ),
    (re.compile(r"persistentvolumeclaim .*not found"), "Create it, or change volumes."),
    (re.compile(r"Insufficient (cpu|memory)"), "Ask for less in container_resources, or add nodes."),
    (re.compile(r"didn't match Pod's node affinity/selector"), "Check node_selector and affinity."),
    (re.compile(r"untolerated taint"), "Set tolerations."),
    (re.compile(r"ImagePullBackOff|ErrImagePull|InvalidImageName"), "Check image and image_pull_secrets."),
)


@dataclass(frozen=True)
class Diagnosis:
    """Why a run failed, and what to do.

    ``cause`` is one line without the object. ``headline`` is one line with the object and advice.
    ``reason`` is Kubernetes' word. ``advice`` is what did not fit into the headline.
    """

    cause: str
    headline: str
    reason: str | None
    advice: str = ""


@dataclass(frozen=True)
class Case:
    """What a diagnosis reads.

    ``last_lines`` are the script's. ``warnings`` are messages of Warning events. ``files`` are the
    paths of files beside the script.
    """

    job: str
    verdict: Verdict
    view: View
    limits: Limits
    image: str = ""
    program: str = ""
    last_lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    files: Collection[str] = ()

    @property
    def pod(self) -> Pod | None:
        """The pod that decided, None if there was no pod."""
        return self.view.pods.get(self.verdict.pod_uid or "")

    @property
    def script_end(self) -> ContainerEnd | None:
        """How that pod's script ended."""
        return pod_status.script_end(self.pod) if self.pod else None


def diagnose(case: Case) -> Diagnosis:
    """The cause of a run that did not succeed."""
    return _DIAGNOSES.get(case.verdict.cause, _attempt_failed)(case)


def hint_for(message: str) -> str:
    """Advice about a message of Kubernetes, with the argument to change; empty without advice."""
    return next((hint for pattern, hint in _HINTS if pattern.search(message)), "")


def advised(line: str, message: str | None = None) -> str:
    """A line with advice about it, or about the message of Kubernetes in it."""
    hint = hint_for(line if message is None else message)
    return f"{line.rstrip('.')}. {hint}" if hint else line


def ended_as(end: ContainerEnd, pod: Pod | None) -> str:
    """How a container ended, as a clause."""
    if end.reason == "OOMKilled":
        limit = _memory_limit(pod)
        return f'container "{SCRIPT_CONTAINER}" was OOMKilled ({limit}exit {end.exit_code})'
    if end.reason in ("StartError", "ContainerCannotRun"):
        return f'container "{SCRIPT_CONTAINER}" could not start: {one_line(end.message)}'
    name = signal_name(end.exit_code)
    return f"the script ended with exit code {end.exit_code}" + (f" ({name})" if name else "")


def registry_answer(message: str) -> str:
    """The registry's answer, without what kubelet and containerd put around it."""
    answer = one_line(message).rpartition("desc = ")[2]
    return re.sub(r'failed to [a-z ]+ "[^"]*": ', "", answer)


def event_line(event: Mapping[str, Any]) -> str:
    """A Kubernetes event as one line."""
    thing = event.get("involvedObject", {})
    return f"{thing.get('kind')} {thing.get('name')}: {event.get('reason')}: {one_line(event.get('message') or '')}"


def _deadline(case: Case) -> Diagnosis:
    seconds = f"{case.limits.deadline:g} s" if case.limits.deadline is not None else "its deadline"
    if case.view.has_unseen_pods:
        cause = f"was ended by its {case.limits.deadline_name} of {seconds}; its pods and their logs are gone"
        return _diagnosis(case, cause, f"Raise {case.limits.deadline_name}.", "DeadlineExceeded")
    if not case.view.has_begun:
        why, hint = _why_not_started(case)
        return _diagnosis(
            case, f"did not start within its {case.limits.deadline_name} of {seconds}: {why}", hint, "DeadlineExceeded"
        )
    cause = f"ran longer than its {case.limits.deadline_name} of {seconds}"
    if case.view.is_without_a_pod and case.warnings:
        why = case.warnings[-1]
        return _diagnosis(case, f"{cause}, at last without a pod: {why}", hint_for(why), "DeadlineExceeded")
    return _diagnosis(case, cause, f"Raise {case.limits.deadline_name}.", "DeadlineExceeded")


def _never_started(case: Case) -> Diagnosis:
    why, hint = _why_not_started(case)
    cause = f"did not start within startup_timeout of {case.limits.startup_timeout:g} s: {why}"
    return _diagnosis(case, cause, hint or "Raise startup_timeout.", "StartupTimeout")


def _why_not_started(case: Case) -> tuple[str, str]:
    """Why no container runs, and what to do."""
    if case.pod is None:
        why = case.warnings[-1] if case.warnings else "no pod was created"
        return why, hint_for(why)
    state = pod_status.state(case.pod)
    why = one_line(": ".join(pod_status.trouble(case.pod) or (state.text,)))
    if not state.is_trouble and case.warnings:
        why = case.warnings[-1]
    return why, hint_for(why)


def _image(case: Case) -> Diagnosis:
    text = registry_answer(case.verdict.message)
    detail = f": {text}" if text else ""
    container = (pod_status.waiting(case.pod) if case.pod else None) or pod_status.Waiting()
    image = pod_status.image_of(case.pod or {}, container.container) or case.image
    cause = f"image {image} cannot be pulled ({case.verdict.reason}){detail}"
    hint = "Check image and image_pull_secrets."
    if container.container not in (SCRIPT_CONTAINER, INSTALL_CONTAINER):
        hint = f'Check container "{container.container}" in pod_overrides.'
    return _diagnosis(case, f"failed: {cause}", hint, case.verdict.reason)


def _not_executable(case: Case) -> Diagnosis:
    program = case.program or "the interpreter"
    cause = f'"{program}" cannot be executed in image {_image_of(case)}'
    message = case.verdict.message.lower()
    if "executable file not found" in message or "no such file" in message:
        cause = f'image {_image_of(case)} has no "{program}"'
    return _diagnosis(case, f"failed: {cause}", f"Change image or interpreter{_on_path(program)}.", case.verdict.reason)


def _on_path(program: str) -> str:
    """The shebang that finds a program wherever the image has it, as the end of a sentence."""
    name = PurePosixPath(program).name
    if not program.startswith("/") or name == "env":
        return ""
    return f", or write #!/usr/bin/env {'python3' if name.startswith('python') else name}"


def _attempt_failed(case: Case) -> Diagnosis:
    if case.pod and (why := pod_status.disruption(case.pod)):
        return _diagnosis(
            case, f"failed: pod {pod_status.name(case.pod)} was ended by the cluster: {one_line(why)}", "", "Evicted"
        )
    if case.pod and (why := pod_status.install_failure(case.pod)):
        return _diagnosis(case, f"failed: {one_line(why)}", "", "InstallFailed")
    end = case.script_end
    if end is None or end.exit_code == 0:
        return _without_exit_code(case)
    reason = end.reason if end.reason not in ("", "Error") else case.verdict.reason or "Error"
    times = f" ({case.view.failures} attempts)" if case.view.failures > 1 else ""
    return _diagnosis(case, f"failed: {ended_as(end, case.pod)}{times}", _advice(case, end), reason)


def _without_exit_code(case: Case) -> Diagnosis:
    verdict = case.verdict
    if case.pod and pod_status.is_being_deleted(case.pod):
        cause = f"pod {pod_status.name(case.pod)} was deleted"
        return _diagnosis(case, f"failed: {cause}", "", "PodDeleted")
    if case.pod and (why := pod_status.failed_init(case.pod)):
        return _diagnosis(case, f"failed: {why}", "", "InitContainerFailed")
    if case.pod and (why := pod_status.failure(case.pod)):
        return _diagnosis(
            case, f"failed: pod {pod_status.name(case.pod)} failed: {one_line(why)}", hint_for(why), verdict.reason
        )
    cause = one_line(f"{verdict.reason}: {verdict.message}" if verdict.message else verdict.reason or "no reason given")
    return _diagnosis(case, f"failed: {cause}", hint_for(cause), verdict.reason)


def _advice(case: Case, end: ContainerEnd) -> str:
    if end.reason == "OOMKilled":
        return "Raise container_resources limits memory."
    if advice := _advice_on_output(case):
        return advice
    if end.exit_code == 137:
        return "SIGKILL without OOMKilled: the kernel may have killed a child process for memory."
    if end.exit_code == 127:
        missing = any(case.program in line for line in case.last_lines)
        return f"A command was not found: check image and interpreter{_on_path(case.program) if missing else ''}."
    if any(_CAPABILITY_SIGNS.search(line) for line in case.last_lines):
        return "The container has no capabilities; add the one it needs in pod_overrides."
    return ""


def _advice_on_output(case: Case) -> str:
    """Advice about the last line that shows what the script did not find or could not write."""
    for line in reversed(case.last_lines):
        named = re.findall(r"[^\s'\"`:,]+", line) if _MISSING_SIGNS.search(line) else ()
        if path := next((word.removeprefix("./") for word in named if word.removeprefix("./") in case.files), ""):
            return f"{path} is beside the script, not in the working directory: write {SCRIPT_FOLDER}/{path}."
        if _HOME_IS_ROOT.search(line) and _DENIED_SIGNS.search(line):
            return "The user's home is /: set run_as_uid instead of runAsUser, or HOME in env."
    return ""


def _unknown(case: Case, why: str, hint: str) -> Diagnosis:
    headline, advice = headline_of(f"Job {case.job}: outcome unknown: {why}.", hint)
    return Diagnosis(f"outcome unknown: {why}", headline, case.verdict.reason, advice)


def _diagnosis(case: Case, cause: str, hint: str, reason: str | None) -> Diagnosis:
    headline, advice = headline_of(f"Job {case.job} {cause.rstrip('.')}.", hint)
    return Diagnosis(cause.removeprefix("failed: "), headline, reason, advice)


def _job_deleted(case: Case) -> Diagnosis:
    return _unknown(case, "the Job was deleted", "Find out what deletes Jobs in this namespace.")


def _silence(case: Case) -> Diagnosis:
    namespace, _, name = case.job.rpartition("/")
    advice = f"Run kubectl -n {namespace} describe job {name}."
    return _unknown(case, "the API server did not report the Job's end", advice)


def _image_of(case: Case) -> str:
    return pod_status.image_of(case.pod or {}, SCRIPT_CONTAINER) or case.image


def _memory_limit(pod: Pod | None) -> str:
    containers = (pod or {}).get("spec", {}).get("containers") or []
    ours: Mapping[str, Any] = next((c for c in containers if c["name"] == SCRIPT_CONTAINER), {})
    limits = ours.get("resources", {}).get("limits", {})
    return f"limit {limits['memory']}, " if "memory" in limits else ""


_DIAGNOSES = {
    Cause.DEADLINE: _deadline,
    Cause.STARTUP_TIMEOUT: _never_started,
    Cause.IMAGE: _image,
    Cause.NOT_EXECUTABLE: _not_executable,
    Cause.JOB_DELETED: _job_deleted,
    Cause.SILENCE: _silence,
}
