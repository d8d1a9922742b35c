"""Why a run failed, in one line: the object, what was seen, what to do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from airflow_script_provider.kube.causes import cluster_messages, events, queue, script_error, signs
from airflow_script_provider.kube.causes.cluster_messages import ProgramFault
from airflow_script_provider.kube.causes.events import NotStarted
from airflow_script_provider.kube.causes.script_error import ScriptError
from airflow_script_provider.kube.hiding import Hide, knows_values, shown_report
from airflow_script_provider.kube.job.observed import unseen
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.time_limits import limit_that_ended
from airflow_script_provider.kube.job.verdict import Cause, Limits, Verdict
from airflow_script_provider.kube.labels import INSTALL_CONTAINER, SCRIPT_CONTAINER
from airflow_script_provider.kube.pods import ending, pod_stages, pod_state, pod_status
from airflow_script_provider.kube.pods.pod_status import ContainerEnd, Pod
from airflow_script_provider.kube.request import provision
from airflow_script_provider.kube.wording import headline_of, one_line
from airflow_script_provider.result import Category

_MORE_MEMORY = "Raise container_resources limits memory."
_TOO_LATE = {
    Cause.SCHEDULE_TIMEOUT: ("got no node", "schedule_timeout", Category.SCHEDULE_TIMEOUT),
    Cause.STARTUP_TIMEOUT: ("did not start", "startup_timeout", Category.STARTUP_TIMEOUT),
}
_HELPED_BY_TIME = (
    Category.UNSCHEDULABLE,
    Category.ERR_IMAGE_PULL,
    Category.FAILED_MOUNT,
    Category.FAILED_ATTACH_VOLUME,
    Category.FAILED_CREATE_POD_SANDBOX,
)
_OURS = (SCRIPT_CONTAINER, INSTALL_CONTAINER)


@dataclass(frozen=True)
class Diagnosis:
    """Why a run failed, and what to do.

    ``cause`` is one line without the object. ``headline`` is one line with the object and advice.
    ``reason`` is Kubernetes' own word, None if it has none. ``hint`` is what to do, ``advice`` as
    much of it as did not fit into the headline.
    ``termination_message`` has the lines that the script wrote as its message, where they are not
    all in the headline. ``line`` is the script's line that tells the cause, as it was printed.
    """

    cause: str
    headline: str
    category: Category
    reason: str | None
    advice: str = ""
    termination_message: tuple[str, ...] = ()
    hint: str = ""
    line: str = ""


@dataclass(frozen=True)
class Case:
    """What a diagnosis reads.

    ``had_the_rest`` says that the deadline of ``limits`` was what other runs had left of a time.
    ``last_lines`` are the script's, ``lines`` are more of them, in which its error is sought.
    ``warnings`` are messages of Warning events. ``hide`` makes what the script wrote safe for a
    message; without it no line of the script stands in one. ``files`` are the paths of files
    beside the script.
    """

    job: str
    verdict: Verdict
    view: View
    limits: Limits
    image: str = ""
    program: str = ""
    last_lines: Sequence[str] = ()
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    files: Collection[str] = ()
    hide: Hide | None = None
    had_the_rest: bool = False

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
    return signs.advice(signs.OF_THE_CLUSTER, message)


def advised(line: str, message: str | None = None) -> str:
    """A line with advice about it, or about the message of Kubernetes in it."""
    hint = hint_for(line if message is None else message)
    return f"{line.rstrip('.')}. {hint}" if hint else line


def _could_not_start(container: str, why: str) -> str:
    return f'container "{container}" could not start: {why}'.removesuffix(": ")


def _deadline(case: Case) -> Diagnosis:
    reason = case.verdict.reason
    limit, raise_it = limit_that_ended(case.view, case.limits, case.verdict, is_rest=case.had_the_rest)
    if case.view.is_suspended:
        cause = f"was still suspended at the end of {limit} ({Category.DEADLINE_EXCEEDED})"
        if not case.verdict.delete_job:
            cause = f"ended when it was resumed: its time in suspension counted towards {limit}"
            cause = f"{cause} ({Category.DEADLINE_EXCEEDED}, as in Kubernetes before 1.36)"
        return _diagnosis(case, cause, raise_it, Category.DEADLINE_EXCEEDED, reason)
    if where := unseen.in_words(case.view):
        cause = f"was ended by {limit} ({Category.DEADLINE_EXCEEDED}); {where}"
        return _diagnosis(case, cause, raise_it, Category.DEADLINE_EXCEEDED, reason)
    if not case.view.has_begun and not unseen.may_run(case.view):
        start = _why_not_started(case)
        cause = f"did not start within {limit} ({Category.DEADLINE_EXCEEDED}): {start.why}"
        return _diagnosis(case, cause, start.advice, start.category or Category.DEADLINE_EXCEEDED, reason)
    cause = f"ran longer than {limit} ({Category.DEADLINE_EXCEEDED})"
    if case.view.is_without_a_pod and case.warnings:
        why = events.last_cause(events.about("Job", case.warnings) or case.warnings)
        cause = f"{cause}, at last without a pod: {why.why}"
    elif case.pod and not pod_stages.has_run(case.pod) and pod_state.trouble(case.pod):
        why = _why_not_started(case)
        cause = f"{cause}, at last waiting: {why.why}"
    else:
        why = NotStarted("", raise_it)
    return _diagnosis(case, cause, why.advice, why.category or Category.DEADLINE_EXCEEDED, reason)


def _never_began(case: Case) -> Diagnosis:
    missed, argument, category = _TOO_LATE[case.verdict.cause]
    start = queue.why_suspended(case.warnings) if case.view.is_suspended else _why_not_started(case)
    cause = f"{missed} within {argument} of {getattr(case.limits, argument):g} s: {start.why}"
    is_helped = start.category in _HELPED_BY_TIME or (start.category is None and start.reason is None)
    patience = f"Raise {argument}." if is_helped else ""
    return _diagnosis(case, cause, start.advice or patience, start.category or category, start.reason)


def _why_not_started(case: Case) -> NotStarted:
    if case.pod is None:
        return events.last_cause(case.warnings) if case.warnings else NotStarted("no pod was created")
    state, trouble = pod_state.state(case.pod), pod_state.trouble(case.pod)
    if trouble and trouble[0] in pod_state.IMAGE_TROUBLE:
        reason, message = trouble
        answer = cluster_messages.registry_answer(case.verdict.message or message)
        category = signs.category_of(signs.OF_A_REGISTRY, answer, reason)
        return NotStarted(f"{reason}: {answer}".removesuffix(": "), hint_for(reason), category, reason)
    if not trouble and not state.is_trouble and (of_pods := events.about("Pod", case.warnings)):
        return events.last_cause(of_pods)
    why, word = one_line(": ".join(trouble or (state.text,))), trouble[0] if trouble else None
    if word in signs.OF_HOOKS:
        why = (case.hide(why) if case.hide else "") or word
    if word in signs.OF_RUNTIMES and trouble:
        return _of_runtime(case, word, trouble[1])
    return NotStarted(why, hint_for(why), signs.category_of(signs.OF_THE_CLUSTER, why, word), word)


def _of_runtime(case: Case, word: str, message: str) -> NotStarted:
    """Why a container is not created: CRI-O checks its program before it starts."""
    reported = cluster_messages.start_error(message)
    why = f"{word}: {shown_report(case.hide, reported)}".removesuffix(": ")
    if fault := cluster_messages.program_fault(message):
        category = Category.PROGRAM_NOT_FOUND if fault.is_missing else Category.NOT_EXECUTABLE
        return NotStarted(why, f"Change image or interpreter{_on_path(_shown_program(case, fault))}.", category, word)
    return NotStarted(why, hint_for(reported), signs.category_of(signs.OF_THE_CLUSTER, reported, word), word)


def _shown_program(case: Case, fault: ProgramFault) -> str:
    """The program that a fault names; empty if it is not ours and may be a value unknown here."""
    if fault.program in (case.program, "sh"):
        return fault.program
    return case.hide(fault.program) if case.hide and knows_values(case.hide) else ""


def _image(case: Case) -> Diagnosis:
    container = (pod_state.waiting(case.pod) if case.pod else None) or pod_state.Waiting()
    image = pod_status.image_of(case.pod or {}, container.container) or case.image
    text = cluster_messages.registry_answer(case.verdict.message, image)
    detail = f": {text}" if text else ""
    cause = f"image {image} cannot be pulled ({case.verdict.reason}){detail}"
    is_ours = container.container in _OURS
    hint = "Check image and image_pull_secrets." if is_ours else _check_container(container.container)
    category = signs.category_of(signs.OF_A_REGISTRY, text, case.verdict.reason)
    return _diagnosis(case, f"failed: {cause}", hint, category or Category.ERR_IMAGE_PULL, case.verdict.reason)


def _check_container(name: str) -> str:
    return f'Check container "{name}" in pod_overrides.'


def _not_executable(case: Case) -> Diagnosis:
    fault = cluster_messages.program_fault(case.verdict.message)
    program = _shown_program(case, fault) if fault else case.program
    is_waiting = case.pod is not None and case.verdict.cause is Cause.NOT_CREATED
    container = ((pod_state.waiting(case.pod or {}) if is_waiting else None) or pod_state.Waiting()).container
    image = pod_status.image_of(case.pod or {}, container) or case.image
    named = f'"{program}"' if program else f'the program of container "{container}"'
    cause = f"{named} cannot be executed in image {image}"
    if fault and fault.is_missing:
        cause = f"image {image} {'has no' if program else 'lacks'} {named}"
    category = Category.PROGRAM_NOT_FOUND if fault and fault.is_missing else Category.NOT_EXECUTABLE
    advice = f"Change image or interpreter{_on_path(program)}." if container in _OURS else _check_container(container)
    return _diagnosis(case, f"failed: {cause}", advice, category, case.verdict.reason)


def _on_path(program: str) -> str:
    """The shebang that finds a program wherever the image has it, as the end of a sentence."""
    name = PurePosixPath(program).name
    if not program.startswith("/") or name == "env":
        return ""
    return f", or write #!/usr/bin/env {'python3' if name.startswith('python') else name}"


def _refused(case: Case) -> Diagnosis:
    message, reason = case.verdict.message, case.verdict.reason
    category = signs.category_of(signs.OF_THE_CLUSTER, message, reason) or Category.FAILED_CREATE
    return _diagnosis(case, f"failed: {message}", hint_for(message), category, reason)


def _disrupted(case: Case) -> Diagnosis:
    pod, many = case.pod, len(case.view.disruptions)
    reason = pod_status.reason(pod) if pod else None
    cause = f"failed: the cluster ended {many} of its pods, at last {case.verdict.message}"
    return _diagnosis(case, cause, "", signs.category_of_word(reason) or Category.EVICTED, reason)


def _attempt_failed(case: Case) -> Diagnosis:
    pod, end = case.pod, case.script_end
    if pod and (found := _ended_by_another(case, pod)):
        return found
    if pod and (why := pod_status.install_failure(pod)):
        return _install_failed(case, pod, one_line(why))
    if end is None or end.exit_code == 0:
        return _without_exit_code(case)
    return _script_failed(case, end)


def _ended_by_another(case: Case, pod: Pod) -> Diagnosis | None:
    """What ended the pod or its script from outside, None if nothing did."""
    end = case.script_end or pod_status.failed_end(pod)
    code = f" ({pod_status.end_text(end)})" if end else ""
    disruption = None if case.view.ended_by_itself(pod_status.uid(pod)) else pod_status.disruption(pod)
    if disruption:
        word = pod_status.reason(pod)
        words = one_line(str(replace(disruption, reason=word or "")))
        cause = f"failed: pod {pod_status.name(pod)} was ended by the cluster: {words}"
        return _ended_from_outside(case, cause, str(disruption), word)
    if why := pod_status.failure(pod):
        cause = f"failed: {one_line(why).rstrip('. ')}{code}"
        return _ended_from_outside(case, cause, why, pod["status"].get("reason"))
    if case.view.ended_by_deletion(pod_status.uid(pod)):
        return _diagnosis(case, f"failed: pod {pod_status.name(pod)} was deleted{code}", "", Category.POD_DELETED, None)
    if stopped := case.view.stopped.get(pod_status.uid(pod)):
        why = ": ".join(stopped).rstrip(": .")
        return _ended_from_outside(case, f"failed: {why}{code}", why, stopped[0])
    return None


def _ended_from_outside(case: Case, cause: str, why: str, reason: str | None) -> Diagnosis:
    category = signs.category_of(signs.OF_THE_CLUSTER, why, reason) or Category.UNKNOWN
    return _diagnosis(case, cause, hint_for(why), category, reason)


def _install_failed(case: Case, pod: Pod, why: str) -> Diagnosis:
    """The installation's failure; ``why`` is its message, which may quote a value of ``env``."""
    end, shown = pod_status.failed_end(pod), pod_state.install_failure(pod, case.hide)
    reason = end.reason if end else None
    told = () if end is not None and end.exit_code == provision.PERMANENT else signs.OF_AN_INSTALLATION
    category = signs.category_of(told, why, reason) or Category.INSTALL_FAILED
    advice = _MORE_MEMORY if category is Category.OOM_KILLED else ""
    return _diagnosis(case, f"failed: {shown}", advice, category, reason)


def _script_failed(case: Case, end: ContainerEnd) -> Diagnosis:
    """The script's own failure: how it ended, and the error that it printed or wrote."""
    reason = end.reason or case.verdict.reason or None
    times = f" ({case.view.failures} attempts)" if case.view.failures > 1 else ""
    found = script_error.of_output(end.exit_code, case.lines or case.last_lines, case.last_lines)
    message = "" if end.reason in pod_status.START_ERRORS else end.message
    told = script_error.termination_message(message, case.lines or case.last_lines)
    written = [line for line in map(case.hide, told) if line] if case.hide else []
    shown = case.hide(found.line) if case.hide and found.line else next(iter(written), "")
    ended = ending.in_words(end, case.pod)
    if end.reason in pod_status.START_ERRORS:
        ended = _could_not_start(SCRIPT_CONTAINER, shown_report(case.hide, cluster_messages.start_error(end.message)))
    cause = f"{ended}{times}"
    takes_line = cause.startswith(ending.ENDED_WITH) and not end.has_killed_child
    line = (found.line or next(iter(told), "")) if takes_line else ""
    cause = ending.with_line(cause, shown) if takes_line else cause
    advice, category = _advice(case, end, found) or found.advice, _category(end) or found.category
    diagnosed = _diagnosis(case, f"failed: {cause}", advice, category, reason)
    return replace(diagnosed, line=line, termination_message=() if written in ([], [shown]) else tuple(written))


def _without_exit_code(case: Case) -> Diagnosis:
    verdict = case.verdict
    if case.pod and (init := pod_status.failed_init(case.pod)):
        cause, end = init
        category = signs.category_of_word(end.reason) or Category.INIT_CONTAINER_FAILED
        return _diagnosis(case, f"failed: {cause}", "", category, end.reason or None)
    cause = one_line(f"{verdict.reason}: {verdict.message}" if verdict.message else verdict.reason or "no reason given")
    category = signs.category_of(signs.OF_THE_CLUSTER, cause, verdict.reason) or Category.UNKNOWN
    where = unseen.in_words(case.view)
    shown = f"{cause.rstrip('.')}; {where}" if where else cause
    return _diagnosis(case, f"failed: {shown}", hint_for(cause), category, verdict.reason)


def _advice(case: Case, end: ContainerEnd, found: ScriptError) -> str:
    """Advice by the end and the image; empty where only the script's error may tell some."""
    if end.reason == "OOMKilled":
        return _MORE_MEMORY
    if advice := script_error.advice_on_files(found.telling, case.files):
        return advice
    if end.exit_code == 137 and end.reason not in pod_status.LOST:
        return "SIGKILL without OOMKilled: the kernel may have killed a child process for memory."
    if end.exit_code == 127 and any("error while loading shared libraries" in line for line in found.telling):
        return "The image lacks a library that the program needs."
    if end.exit_code == 127:
        missing = any(case.program in line for line in found.telling)
        return f"A command was not found: check image and interpreter{_on_path(case.program) if missing else ''}."
    return ""


def _category(end: ContainerEnd) -> Category | None:
    """The category by the node's word, None if it tells none."""
    return Category.CHILD_OOM_KILLED if end.has_killed_child else signs.category_of_word(end.reason)


def _unknown(case: Case, why: str, hint: str, category: Category, reason: str | None = None) -> Diagnosis:
    headline, advice = headline_of(f"Job {case.job}: outcome unknown: {why}.", hint)
    return Diagnosis(f"outcome unknown: {why}", headline, category, reason, advice, hint=hint)


def _diagnosis(case: Case, cause: str, hint: str, category: Category, reason: str | None) -> Diagnosis:
    headline, advice = headline_of(f"Job {case.job} {cause.rstrip('.')}.", hint)
    return Diagnosis(cause.removeprefix("failed: "), headline, category, reason, advice, hint=hint)


def _job_deleted(case: Case) -> Diagnosis:
    return _unknown(case, "the Job was deleted", "Find out what deletes Jobs in this namespace.", Category.JOB_DELETED)


def _unreachable(case: Case) -> Diagnosis:
    node, pod = (pod_status.node(case.pod), pod_status.name(case.pod)) if case.pod else (None, None)
    word = f" ({case.verdict.reason})" if case.verdict.reason else ""
    why = (
        f"node {node} does not report the end of its pod{word}: the script may still run in {pod}, so it is not retried"
    )
    return _unknown(case, why, f"Run kubectl describe node {node}.", Category.NODE_UNREACHABLE, case.verdict.reason)


def _stopped(case: Case) -> Diagnosis:
    reason = case.verdict.reason
    if not reason:  # Kubernetes has no word for the deletion of a pod
        told = f"{case.verdict.message}. Its script ended with exit code 0, perhaps because it was told to end"
        return _unknown(case, told, "", Category.POD_DELETED)
    why = f"{reason}: {case.verdict.message}".rstrip(": .")
    category = signs.category_of(signs.OF_THE_CLUSTER, why, reason) or Category.STOPPED
    told = f"{why}. The script was told to end, and ended with exit code 0"
    return _unknown(case, told, hint_for(why), category, reason)


def _silence(case: Case) -> Diagnosis:
    namespace, _, name = case.job.rpartition("/")
    advice = f"Run kubectl -n {namespace} describe job {name}."
    return _unknown(case, "the API server did not report the Job's end", advice, Category.NO_ANSWER)


_DIAGNOSES = {
    Cause.DEADLINE: _deadline,
    Cause.TIMEOUT: _deadline,
    Cause.SCHEDULE_TIMEOUT: _never_began,
    Cause.STARTUP_TIMEOUT: _never_began,
    Cause.IMAGE: _image,
    Cause.NOT_EXECUTABLE: _not_executable,
    Cause.NOT_CREATED: _not_executable,
    Cause.REFUSED: _refused,
    Cause.DISRUPTED: _disrupted,
    Cause.STOPPED: _stopped,
    Cause.UNREACHABLE: _unreachable,
    Cause.JOB_DELETED: _job_deleted,
    Cause.SILENCE: _silence,
}
