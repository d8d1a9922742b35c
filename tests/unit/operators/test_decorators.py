"""Tasks whose script is what a function returns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk import DAG, Context, task
from airflow.sdk.bases.decorator import DecoratedMappedOperator

from airflow_script_provider.decorators.exec import kubernetes_exec_script_task
from airflow_script_provider.decorators.node import kubernetes_node_script_task
from airflow_script_provider.decorators.script import DecoratedKubernetesScriptOperator, kubernetes_script_task
from airflow_script_provider.kube.names import TaskIdentity
from airflow_script_provider.operators import _base
from airflow_script_provider.sources import InlineScript, S3Script
from tests.builders import a_launched_job

CLUSTER: dict[str, Any] = {"kubernetes_conn_id": None, "config_file": "/none"}


def a_task(build: Callable[..., Any], *args: Any, **arguments: Any) -> DecoratedKubernetesScriptOperator:
    """The operator of a decorated function that was called in a DAG, whose cluster is never asked."""
    with DAG("etl"):
        decorated = cast("Any", kubernetes_script_task(**({"task_id": "load"} | CLUSTER | arguments)))(build)
        return cast("DecoratedKubernetesScriptOperator", decorated(*args).operator)


def in_a_context(**names: Any) -> Context:
    """A few names are a context here."""
    return cast("Context", names)


def test_the_function_is_called_when_the_task_runs() -> None:
    """Parsing a DAG calls nothing; until then Airflow shows that the script is not known yet."""
    operator = a_task(lambda: pytest.fail("called"))
    assert operator.script.serialize() == "DYNAMIC (set during execution)"


def test_the_text_is_the_script() -> None:
    """Arguments of the call are the function's; Jinja leaves the text alone."""
    operator = a_task(lambda table: f"echo {table} '{{{{ x }}}}'", "sales")
    assert operator.returned_script({}).fetch().text == "echo sales '{{ x }}'"


def test_the_function_gets_what_it_names_of_the_context() -> None:
    """As any function of TaskFlow; defaults of its own stay."""
    operator = a_task(lambda run_id, day="monday": f"echo {run_id} {day}")
    assert operator.returned_script(in_a_context(run_id="r1", ti=None)).fetch().text == "echo r1 monday"


def test_a_source_is_taken_as_it_is() -> None:
    """A function may choose where its script is."""
    assert isinstance(a_task(lambda: S3Script("s3://bucket/etl.py")).returned_script({}), S3Script)


def test_a_uri_is_read() -> None:
    """A returned string means what it means as ``script``, with ``script_conn_id``."""
    operator = a_task(lambda: "s3://bucket/etl.py", script_conn_id="lake")
    source = operator.returned_script({})
    assert isinstance(source, S3Script)
    assert source.conn_id == "lake"


@pytest.mark.parametrize("returned", [None, 5, b"echo", ["echo"], {"type": "inline", "source": "echo"}])
def test_nothing_else_is_a_script(returned: Any) -> None:
    """The message names the function and what it has returned."""

    def build() -> Any:
        return returned

    with pytest.raises(TypeError, match=rf"^build returned {type(returned).__name__}, but must return the script"):
        a_task(build).returned_script({})


@pytest.mark.parametrize(("returned", "words"), [("  ", "script is empty"), ("etl.py", "would run as text")])
def test_a_text_that_cannot_be_a_script(returned: str, words: str) -> None:
    """What ``script`` refuses is refused here, with the name of the function."""

    def build() -> str:
        return returned

    with pytest.raises(ValueError, match=f"^what build returned: .*{words}"):
        a_task(build).returned_script({})


def test_only_the_script_is_rendered_then() -> None:
    """The other fields were rendered before: what they were given is not taken for a template again (R24)."""
    operator = a_task(lambda: "echo {{ run_id }}", template_script=True, env={"A": "{{ text }}"})
    context = in_a_context(run_id="r1", text="{{ run_id }}")
    operator.render_template_fields(context)
    operator.take_script(context)
    assert operator.script.fetch().text == "echo r1"
    assert operator.env.value == {"A": "{{ run_id }}"}


def test_a_source_that_is_returned_twice_is_rendered_twice() -> None:
    """The function's own object keeps its template."""
    source = InlineScript("echo {{ n }}", template=True)
    operator = a_task(lambda: source)
    for n in ("1", "2"):
        operator.take_script(in_a_context(n=n))
        assert operator.script.fetch().text == f"echo {n}"


def test_the_text_is_shown() -> None:
    """Airflow keeps the rendered fields once more after the run: then with the script."""
    operator = a_task(lambda: "echo hi")
    operator.take_script(in_a_context())
    assert operator.overwrite_rtif_after_execution
    assert operator.script.serialize() == "echo hi"


def test_a_task_that_was_deferred_shows_which_script_it_was() -> None:
    """The function is not called again when a worker takes the outcome."""
    operator = a_task(lambda: pytest.fail("called"))
    operator._resumed({"job": a_launched_job().to_dict()})
    assert "bytes, sha256 " in operator.script


def test_script_is_no_argument() -> None:
    """The function says what the script is."""
    with pytest.raises(TypeError, match=r"script is what <lambda> returns; @task\.kubernetes_script takes no such"):
        a_task(lambda: "echo", script="echo")


def test_arguments_are_checked_at_parse() -> None:
    """As the operator's, when the function is called in the DAG (R29)."""
    with pytest.raises(TypeError, match="unknown argument 'timout'; did you mean 'timeout'"):
        a_task(lambda: "echo", timout=5)


def test_an_async_function_is_refused() -> None:
    """Nothing would await it."""

    async def build() -> str:
        return "echo"

    with pytest.raises(TypeError, match=r"build is async; @task\.kubernetes_script needs a plain function"):
        a_task(build)


def test_a_dry_run_has_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """The function is called for it."""
    a_task(lambda table: f"echo {table}", "sales", namespace="etl").dry_run()
    assert "echo sales" in capsys.readouterr().out


def test_all_operators_have_the_form() -> None:
    """``@task`` knows the three by their names, which are those of the functions to import."""
    with DAG("etl") as dag:

        @task.kubernetes_script(**CLUSTER)  # type: ignore[untyped-decorator]  # Airflow types its own only
        def as_job() -> str:
            return "echo"

        @task.kubernetes_exec_script(deployment="web", **CLUSTER)
        def in_pod() -> str:
            return "echo"

        @task.kubernetes_node_script(all_nodes=True, **CLUSTER)
        def on_nodes() -> str:
            return "echo"

        as_job(), in_pod(), on_nodes()
        kubernetes_exec_script_task(deployment="web", **CLUSTER)(in_pod.function)()
        kubernetes_node_script_task(all_nodes=True, **CLUSTER)(on_nodes.function)()
    assert [operator.operator_name for operator in dag.tasks] == [
        "@task.kubernetes_script",
        "@task.kubernetes_exec_script",
        "@task.kubernetes_node_script",
        "@task.kubernetes_exec_script",
        "@task.kubernetes_node_script",
    ]


def test_override_and_map() -> None:
    """``override`` changes the operator's arguments, ``expand`` maps the function's."""
    with DAG("etl"):
        build = cast("Any", kubernetes_script_task(task_id="each", image="python:3.12", **CLUSTER))(
            lambda table: f"echo {table}"
        )
        overridden = build.override(task_id="load", image="python:3.13")("sales").operator
        mapped = build.partial().expand(table=["sales", "stock"]).operator
    assert (overridden.task_id, overridden.image) == ("load", "python:3.13")
    assert isinstance(mapped, DecoratedMappedOperator)
    unmapped = mapped.unmap({"task_id": "each", "op_kwargs": {"table": "stock"}, "image": "python:3.12"})
    assert cast("Any", unmapped).returned_script({}).fetch().text == "echo stock"


@pytest.mark.parametrize("multiple_outputs", [False, True])
def test_multiple_outputs_are_xcoms_of_their_own(multiple_outputs: bool) -> None:
    """Each key of the result can be read by its name then, of a failure too; ``value`` is the script's in any case."""
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    operator = a_task(lambda: "echo", multiple_outputs=multiple_outputs)
    operator.push_result(in_a_context(ti=ti), [1], {"status": "failed", "value": [1]})
    expected = {"value": [1], "return_value": {"status": "failed", "value": [1]}}
    assert pushed == ({"status": "failed"} if multiple_outputs else {}) | expected


class AnXComBackend:
    """Stores XComs, but raises for the first ``failures`` pushes."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.stored: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Store a value, or raise."""
        if self.failures:
            self.failures -= 1
            raise OverflowError("can't serialize it")
        self.stored[key] = value


def test_a_moment_without_airflow_loses_no_value() -> None:
    """The same is pushed once more before the value is left out (R35)."""
    backend, operator = AnXComBackend(1), a_task(lambda: "echo")
    operator.push_result(in_a_context(ti=backend), 1, {"value": 1})
    assert backend.stored == {"value": 1, "return_value": {"value": 1}}
    assert operator.as_pushed({"value": 1}) == {"value": 1}


def test_where_airflow_takes_nothing_the_outcome_is_left_to_the_next_try() -> None:
    """Then it is not the value that Airflow does not take (R35)."""
    with pytest.raises(OverflowError, match="can't serialize it"):
        a_task(lambda: "echo").push_result(in_a_context(ti=AnXComBackend(100)), 1, {"value": 1})


@pytest.mark.parametrize(
    ("max_tries", "has_job", "asks"), [(2, True, True), (0, True, False), (2, False, False)], ids=str
)
def test_without_xcoms_airflow_is_asked_before_the_job_is_read(
    max_tries: int, has_job: bool, asks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow may be away: then it does not hear of the success, and the next try needs the Job unread (R2)."""

    def away(_: TaskIdentity) -> str:
        raise OSError("Airflow's API server does not answer")

    monkeypatch.setattr(_base, "task_state", away)
    operator = a_task(lambda: "echo", do_xcom_push=False)
    operator.launched_job = a_launched_job().ref if has_job else None
    ids = {"dag_id": "etl", "task_id": "load", "run_id": "r1", "map_index": -1, "try_number": 1}
    context = in_a_context(ti=SimpleNamespace(max_tries=max_tries, **ids))
    with pytest.raises(OSError, match="does not answer") if asks else nullcontext():
        operator.push_result(context, 1, {"value": 1})
