"""How a program in a running container ended, as far as the shell and the node report it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from airflow_script_provider.kube.causes.cluster_messages import start_error
from airflow_script_provider.kube.exec.own_lines import OwnLines
from airflow_script_provider.kube.exec.protocol import ExecStatus
from airflow_script_provider.kube.wording import signal_name

SIGTERM_CHECKS = 8
"""Looks at pod or container after a SIGTERM, a second apart: it ends after all its processes."""


@dataclass(frozen=True)
class Exited:
    """The process ended by itself, or a signal ended it.

    ``got_sigterm`` says that its shell also got SIGTERM, by which the process may have stopped.
    """

    code: int
    got_sigterm: bool = False


@dataclass(frozen=True)
class NotStarted:
    """The process never began.

    ``failed_step`` is ``connection``, ``refused`` (by the node), ``container`` (which can start no
    process, as while it stops), ``sh``, ``code``, ``program`` (missing), ``permission`` (the
    program cannot be executed), ``working_dir``, ``folder``, ``write``, or ``killed``: a signal
    ended the shell before.
    """

    failed_step: str
    message: str = ""


@dataclass(frozen=True)
class TimedOut:
    """The process was ended at its deadline. ``termination`` says how that went, in words."""

    termination: str
    may_still_run: bool = False


@dataclass(frozen=True)
class PodEnded:
    """The pod or its container ended while the process ran.

    ``reason`` is Kubernetes' word for that end, None without one.
    """

    why: str
    code: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Stopped:
    """The process ended with 0 after a SIGTERM, as its pod or container did.

    It may have stopped half-way. ``why`` and ``reason`` are those of ``PodEnded``.
    """

    why: str
    reason: str | None = None
    code: int = 0


@dataclass(frozen=True)
class ConnectionBroken:
    """The connection broke after so many seconds.

    ``is_running`` says whether the process was seen afterwards, None where that is unknown.
    ``process_group`` is the number of its process group and session.
    """

    why: str
    seconds: float
    is_running: bool | None = None
    process_group: int | None = None


@dataclass(frozen=True)
class ShellKilled:
    """A signal ended the shell, which would have reported the end of the process.

    ``code`` is the shell's exit code. The process may go on, or may have ended with any code.
    ``is_running`` and ``process_group`` are those of ``ConnectionBroken``.
    """

    code: int
    is_running: bool | None = None
    process_group: int | None = None

    @property
    def cause(self) -> str:
        """How the shell ended, as a clause."""
        return f"lost the shell that reports its end ({code_in_words(self.code)})"


class Termination(NamedTuple):
    """The result of ending a process, in words.

    ``may_still_run`` is False if the process is gone. ``was_signalled`` is False if the program
    had ended before it could get a signal, so that its exit code is its own. ``is_certain`` is
    False if it may have got no signal, because no helper in the pod has answered.
    """

    description: str
    may_still_run: bool
    was_signalled: bool = True
    is_certain: bool = True


ExecEnd = Exited | NotStarted | TimedOut | PodEnded | Stopped | ConnectionBroken | ShellKilled


def end_of(own_lines: OwnLines, status: ExecStatus | None, why: str, seconds: float) -> ExecEnd:
    """The end of a run through the container's shell.

    ``why`` says why there is no status. The exit code that the shell has reported counts first.
    Without it, an exit code of 0 proves nothing: when the connection to the node breaks, the API
    server itself reports success. The code of a signal proves nothing of the process either: the
    kernel may have chosen the shell alone, when memory ran out. Any other code is the one with
    which the shell ends after the process.
    """
    if own_lines.failure is not None:
        return NotStarted(own_lines.failure)
    if own_lines.exit_code is not None:
        return Exited(own_lines.exit_code, own_lines.got_sigterm)
    if status is not None and status.exit_code == 0:
        return ConnectionBroken("the connection to the node broke: the pod has reported no exit code", seconds)
    end = end_of_bare(own_lines, status, why, seconds)
    return _end_before_begin(end, status) if own_lines.is_silent else _end_without_report(end, seconds)


def _end_before_begin(end: ExecEnd, status: ExecStatus | None) -> ExecEnd:
    """The end of a shell that has announced nothing: the code that announces comes first."""
    if status is not None and status.missing_program == "sh":
        return NotStarted("sh")
    if isinstance(end, Exited):
        return NotStarted("killed" if signal_name(end.code) else "code", code_in_words(end.code))
    return end


def _end_without_report(end: ExecEnd, seconds: float) -> ExecEnd:
    match end:
        case Exited(code) if signal_name(code):
            return ShellKilled(code)
        case _:
            return end


def end_of_bare(own_lines: OwnLines, status: ExecStatus | None, why: str, seconds: float) -> ExecEnd:
    """The end of a command without a shell; its status must be the node's own word."""
    if status is None:
        return ConnectionBroken(why, seconds)
    if status.is_start_failure and own_lines.is_silent:
        return _failed_start(status)
    if status.exit_code is not None:
        return Exited(status.exit_code)
    if status.is_refused_by_node and own_lines.is_silent:
        return NotStarted("refused", start_error(status.message))
    if status.has_no_connection and own_lines.is_silent:
        return NotStarted("connection", start_error(status.message))
    return ConnectionBroken(f"{status.reason}: {start_error(status.message)}", seconds)


def _failed_start(status: ExecStatus) -> NotStarted:
    if missing := status.missing_program:
        return NotStarted("program", f'"{missing}": executable file not found in the image')
    return NotStarted("permission" if status.program_fault else "container", start_error(status.message))


def termination_of(reply: str | None, group: int, grace: float, enter: str, *, had_ended: bool) -> Termination:
    """What the reply of the program that ends a process and its session means.

    The reply is None if the program could not be run, and empty if it takes longer than it may.
    ``enter`` is the command that runs another one in the container. With ``had_ended``, the shell
    had reported the exit code before; what the process has left in its session may remain.
    """
    descriptions = {
        "gone": "it had already ended",
        "ended": "it was ended",
        "killed": f"it was killed, {grace:g} s after SIGTERM",
        "left": f"process {group} cannot be killed",
        "": f"process {group} received SIGTERM; SIGKILL follows after {grace:g} s",
    }
    failed = f"process {group} could not be ended. Run: {enter} sh -c 'kill -- -{group}'"
    description = failed if reply is None else descriptions.get(reply, failed)
    may_still_run = reply not in ("gone", "ended", "killed")
    was_signalled = not had_ended and reply != "gone"
    return Termination(description, may_still_run, was_signalled, is_certain=reply in descriptions)


def end_with_pod(code: int, why: str, reason: str | None) -> PodEnded | Stopped:
    """The end of a process that a signal may have ended, with the pod or container."""
    return PodEnded(why, code, reason) if code else Stopped(why, reason)


def end_at_deadline(found: ExecEnd | None, timed_out: TimedOut, *, was_signalled: bool) -> ExecEnd:
    """The end of a run whose deadline was over before its end was known.

    ``found`` is the end that was known afterwards, None without one. Its exit code counts if the
    program had ended by itself, before any signal of ours. Otherwise it shows that the program no
    longer runs, even if the signal got no answer.
    """
    if not isinstance(found, Exited):
        return timed_out
    if not was_signalled:
        return found
    return TimedOut(f"it ended meanwhile ({code_in_words(found.code)})") if timed_out.may_still_run else timed_out


def code_in_words(code: int) -> str:
    """An exit code, with the name of its signal."""
    return ", ".join(filter(None, (f"exit code {code}", signal_name(code))))
