"""Running a coroutine in a thread that Airflow interrupts by signals, timeouts and kills."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from airflow_script_provider import exceptions
from airflow_script_provider._event_loop import (
    cancelled_by_each_ctrl_c,
    new_runner,
    woken_at_intervals,
    woken_by_signals,
)

T = TypeVar("T")
_unfinished: list[tuple[InterruptibleRun, Hashable]] = []
"""The runs of this process that a SIGTERM ends, each with the task's try that it belongs to."""
_killed_tries: set[Hashable] = set()
"""The tries that were killed in this process; None stands for code outside of a task."""


class _Stray(threading.local):
    """What Airflow or Python has raised in a thread, outside of the coroutine that it runs now."""

    error: BaseException | None = None


class InterruptibleRun:
    """Runs a coroutine to its end in this thread; a signal handler may interrupt it.

    The handler does no I/O: it cancels the coroutine. The coroutine then deletes its Job, or
    leaves it to the next try. Several threads may run coroutines at the same time.
    """

    def __init__(self, nothing_begun: str = "No Job was created.") -> None:
        self._nothing_begun = nothing_begun
        self._killed = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stray = _Stray()

    @property
    def stray(self) -> BaseException | None:
        """What Airflow or Python raised outside of the coroutine, which it then cancels."""
        return self._stray.error

    @property
    def is_killed(self) -> bool:
        """Whether a kill ends the run.

        False if an exception that Airflow or Python raised in the meantime ends it.
        """
        return self._killed.is_set() and self.stray is None

    def raise_if_killed(self) -> None:
        """Raise ``RunKilledError`` after a kill."""
        if self._killed.is_set():
            raise self._killed_error()

    def kill(self) -> None:
        """Interrupt the run, or prevent it from beginning."""
        if self._killed.is_set():
            return  # a second cancellation would disturb the clearing up
        self._killed.set()
        for task in [*self._tasks]:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
                task.get_loop().call_soon_threadsafe(task.cancel)

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run to the end; ``RunKilledError`` if it was killed.

        What has interrupted an earlier coroutine is forgotten, but a kill also ends the next one.
        """
        self._stray.error = None
        self.raise_if_killed()
        try:
            with new_runner() as runner:
                runner.get_loop().set_exception_handler(self._on_stray)
                return self._run_in(runner, main)
        except asyncio.CancelledError as error:
            raise self._cause_of(error) from None
        except BaseExceptionGroup as group:
            raise interruption_in(group) from None

    async def run_in_loop(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """``run`` in the running event loop, whose other tasks a kill does not end."""
        self._stray.error = None
        caller, task = asyncio.current_task(), asyncio.ensure_future(self._main(main))
        cancelled_before = caller.cancelling() if caller is not None else 0
        try:
            with woken_at_intervals():
                return await task
        except asyncio.CancelledError as error:
            if not self._killed.is_set() or (caller is not None and caller.cancelling() > cancelled_before):
                raise
            await _killed_runs_of_this_loop()
            raise self._killed_error(error) from None

    def _run_in(self, runner: asyncio.Runner, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run to the end, or to what a signal handler raises while the loop waits.

        The runner then cancels the coroutine, which may ask for the reason.
        """
        try:
            return runner.run(self._woken(main))
        except (Exception, asyncio.CancelledError, BaseExceptionGroup):
            raise  # of the coroutine
        except BaseException as error:
            if not self._killed.is_set():
                self._stray.error = error
            raise

    async def _woken(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with woken_by_signals(), cancelled_by_each_ctrl_c():
            return await self._main(main)

    async def _main(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            self.raise_if_killed()
            return await main()
        finally:
            if task is not None:
                self._tasks.discard(task)

    def _on_stray(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take an interruption that Python raised in a callback of the loop.

        The loop would drop it.
        """
        error = context.get("exception")
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            self._stray.error = error
            for task in [*self._tasks]:
                if task.get_loop() is loop:
                    task.cancel()
        else:
            loop.default_exception_handler(context)

    def _cause_of(self, error: BaseException) -> BaseException:
        if self.stray is not None:
            return self.stray
        if self._killed.is_set() and isinstance(error, asyncio.CancelledError):
            return self._killed_error(error)
        return error

    def _killed_error(self, error: BaseException | None = None) -> exceptions.RunKilledError:
        """The error with the fate of the Job or process, which is a note of the interruption."""
        notes = getattr(error, "__notes__", None) or [self._nothing_begun]
        return exceptions.RunKilledError(f"the run was killed. {notes[0]}")


@contextlib.contextmanager
def ended_by_sigterm(run: InterruptibleRun, of_try: Hashable = None, *, in_loop: bool = False) -> Iterator[None]:
    """End the run at SIGTERM, and beside it all others of this process.

    An operator has ``on_kill`` for that. Code in a ``@task`` does not. Only the main thread can
    handle signals; another thread's run is ended by ``end_all``. Where SIGTERM would end the
    process, a run in an event loop (``in_loop``) leaves that as it is: the loop may do other work.
    The run of a try that was killed before does not begin.
    """
    is_main = threading.current_thread() is threading.main_thread()
    is_handled = is_main and (not in_loop or callable(signal.getsignal(signal.SIGTERM)))
    entry = (run, of_try)
    _unfinished.append(entry)
    try:
        end_if_killed(run, of_try)
        with _handler if is_handled else contextlib.nullcontext():
            yield
    finally:
        _unfinished.remove(entry)


def end_if_killed(run: InterruptibleRun, of_try: Hashable) -> None:
    """End a run whose try was killed before: its code may have caught the error."""
    if of_try in _killed_tries:
        run.kill()


def end_all() -> None:
    """End all runs of this process, and the later ones of their tries.

    May be called from a signal handler.
    """
    for run, of_try in [*_unfinished]:
        _killed_tries.add(of_try)
        run.kill()


async def _killed_runs_of_this_loop() -> None:
    """Wait until all killed runs of the running event loop have cleared up.

    Its code may end the loop as soon as it gets the error of one of them, as Airflow's does.
    """
    killed = [task for run, _ in [*_unfinished] if run.is_killed for task in [*run._tasks]]
    if of_this_loop := [task for task in killed if task.get_loop() is asyncio.get_running_loop()]:
        await asyncio.wait(of_this_loop)


@dataclass(frozen=True)
class EndOfTry:
    """``end_all`` for a task's try, which may have no run at the moment."""

    of_try: Hashable

    def __call__(self) -> None:
        _killed_tries.add(self.of_try)
        end_all()


@contextlib.contextmanager
def _handling_sigterm() -> Iterator[None]:
    previous = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        end_all()
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:  # the code of an event loop may have set another one
            signal.signal(signal.SIGTERM, previous)


class _SigtermHandler:
    """The handler of SIGTERM, for blocks of the main thread that may overlap.

    Coroutines of one event loop do: the last of them to end gives the handler back.
    """

    def __init__(self) -> None:
        self._blocks = 0
        self._installed = contextlib.ExitStack()

    def __enter__(self) -> None:
        if self._blocks == 0:
            self._installed.enter_context(_handling_sigterm())
        self._blocks += 1

    def __exit__(self, *_: object) -> None:
        self._blocks -= 1
        if self._blocks == 0:
            self._installed.close()


_handler = _SigtermHandler()


async def answer_of(question: Callable[[], T], seconds: float) -> T | None:
    """The answer of a blocking call; None if it raises or takes longer.

    Its thread is never joined.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T | None] = loop.create_future()

    def give(value: T | None) -> None:
        if not answer.done():
            answer.set_result(value)

    def ask() -> None:
        value = None
        with contextlib.suppress(Exception):
            value = question()
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
            loop.call_soon_threadsafe(give, value)

    threading.Thread(target=ask, daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        return None


def interruption_in(group: BaseException) -> BaseException:
    """The first interruption in a group: what Airflow raised wherever Python happened to be.

    An error that is not a group is returned as it is.
    """
    if not isinstance(group, BaseExceptionGroup):
        return group
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return interruption_in(error)
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            return error
    first: BaseException = group.exceptions[0]
    return first
