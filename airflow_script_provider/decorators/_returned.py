"""What the decorators share: a function returns the script when the task runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from airflow_script_provider._airflow import (
    SET_DURING_EXECUTION,
    BaseOperator,
    DecoratedOperator,
    determine_kwargs,
    task_decorator_factory,
)
from airflow_script_provider.kube.job.launched import LaunchedJob
from airflow_script_provider.operators import _fields
from airflow_script_provider.operators._base import ScriptTask
from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.parse import parse

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import Task

P = ParamSpec("P")
F = ParamSpec("F")
R = TypeVar("R", bound="str | ScriptSource")


class ReturnedScript(DecoratedOperator, ScriptTask):
    """Calls a function with the task's context and runs the script that it returns; a mixin.

    :param python_callable: the function. It returns the script: its text, a one-line URI or a
        source such as ``S3Script(…)``.
    :param op_args: list: positional arguments of the function. (templated)
    :param op_kwargs: dict: named arguments of the function. (templated)
    """

    overwrite_rtif_after_execution: bool = True
    custom_operator_name: str
    script_conn_id: str | None
    template_script: bool

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        name = python_callable.__name__
        if inspect.iscoroutinefunction(python_callable):
            raise TypeError(
                f"{name} is async; {self.custom_operator_name} needs a plain function that returns the script"
            )
        if "script" in kwargs:
            raise TypeError(f"script is what {name} returns; {self.custom_operator_name} takes no such argument")
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            script=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Call the function, then run the script that it returns."""
        self.take_script(context)
        return super().execute(context)

    def dry_run(self) -> None:
        """Print what would be created. Calls the function with an empty context."""
        self.script = self.returned_script({})
        super().dry_run()

    def take_script(self, context: Context) -> None:
        """Call the function, and make what it returns the task's script, rendered."""
        self.script = self.render_source(self.returned_script(context), context)

    def _resumed(self, event: Mapping[str, Any]) -> LaunchedJob:
        """Resume as the operator does.

        The function is not called again, so only facts of the script are shown.
        """
        job = super()._resumed(event)
        self.script = f"{job.script.origin}, {job.script.size:,} bytes, sha256 {job.script.sha256}"
        return job

    def returned_script(self, context: Mapping[str, Any]) -> ScriptSource:
        """The source that the function returns."""
        named = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        script = self.python_callable(*self.op_args, **named)
        name = self.python_callable.__name__
        if not isinstance(script, str | ScriptSource):
            kind = type(script).__name__
            raise TypeError(f"{name} returned {kind}, but must return the script as text, a URI or a source object")
        try:
            source = parse(script, template=self.template_script, conn_id=self.script_conn_id)
        except ValueError as error:
            raise ValueError(f"what {name} returned: {error}") from None
        # A source is written in the function. A text may be what the run was triggered with.
        return source if isinstance(script, ScriptSource) else cast("ScriptSource", _fields.confined(source))


class ScriptTaskDecorator(Protocol[P]):
    """Makes a task of a function that returns a script.

    It takes the operator's arguments except ``script``. A type checker does not know this
    exception: ``script=…`` is an error when the DAG is parsed.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]  # all arguments of an operator have names
        self, python_callable: Callable[F, R], /
    ) -> Task[F, R]: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Callable[[Callable[F, R]], Task[F, R]]: ...


def decorator_for(decorated: type[BaseOperator], operator: Callable[P, Any]) -> ScriptTaskDecorator[P]:
    """The decorator whose tasks are of the class ``decorated``.

    Editors complete the arguments of ``operator``.
    """

    def decorate(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> Any:
        return task_decorator_factory(python_callable, decorated_operator_class=decorated, **kwargs)

    decorate.__doc__ = decorated.__doc__
    return cast("ScriptTaskDecorator[P]", decorate)
