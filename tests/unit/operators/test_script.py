"""What the operator takes, shows, renders and hands over."""

from __future__ import annotations

import copy
import traceback
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG, BaseOperator
from airflow.serialization.helpers import serialize_template_field

from airflow_script_provider._airflow import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_script_provider.exceptions import RunKilledError, ScriptFailedError, ScriptSourceError
from airflow_script_provider.hooks import _task_run
from airflow_script_provider.hooks._task_run import JobTaskRun
from airflow_script_provider.jobs.conclude import Deferral
from airflow_script_provider.kube.job.diagnosis import Diagnosis
from airflow_script_provider.kube.job.follow_state import FollowState
from airflow_script_provider.operators import _errors, _fields
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.result import Category
from airflow_script_provider.sources import FileScript, HttpScript, InlineScript
from tests.builders import a_failed_outcome, a_failed_result, a_launched_job

A_CIRCLE: list[Any] = []
A_CIRCLE.append(A_CIRCLE)


def an_operator(script: Any = "print('hi')", **arguments: Any) -> KubernetesScriptOperator:
    """An operator of the task ``load``, whose cluster is never asked."""
    values: dict[str, Any] = {"task_id": "load", "kubernetes_conn_id": None, "config_file": "/none"}
    return KubernetesScriptOperator(script=script, **(values | arguments))


def rendered(operator: KubernetesScriptOperator, **context: Any) -> KubernetesScriptOperator:
    """The operator after Airflow has rendered its fields with these names."""
    operator.render_template_fields(context)  # type: ignore[arg-type]  # a few names are a context here
    return operator


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("env_vars", "env"),
        ("startup_timeout_seconds", "startup_timeout"),
        ("active_deadline_seconds", "timeout"),
        ("cmds", "interpreter"),
        ("secrets", "env_from"),
        ("on_finish_action", "ttl_seconds_after_finished"),
        ("init_containers", "pod_overrides"),
        ("security_context", "pod_overrides"),
    ],
)
def test_the_pod_operators_arguments_are_answered_with_ours(name: str, ours: str) -> None:
    """Who comes from the pod operator is told what to write instead (R29)."""
    with pytest.raises(TypeError, match=f"'{name}' is an argument of the pod or job operator; .*'{ours}' instead"):
        an_operator(**{name: "x"})


def test_a_misspelt_argument_is_answered_with_the_nearest() -> None:
    """The operator has many arguments; a typo finds its own (R29)."""
    with pytest.raises(TypeError, match=r"unknown argument 'timout'; did you mean 'timeout'\?"):
        an_operator(timout=5)


@pytest.mark.parametrize("argument", ["retries", "pool", "trigger_rule", "execution_timeout", "doc_md"])
def test_airflows_own_arguments_are_taken(argument: str) -> None:
    """Everything that any operator takes."""
    values: dict[str, Any] = {"retries": 2, "trigger_rule": "all_done", "execution_timeout": timedelta(minutes=5)}
    assert getattr(an_operator(**{argument: values.get(argument, "x")}), argument) is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"script": None}, "script is missing: text, a URI or a source"),
        ({"script": "scripts/etl.py"}, "would run as text, not as a file; for a file write file://scripts/etl.py"),
        ({"script": "ftp://x/y.py"}, "has the unknown scheme ftp://"),
        ({"args": {}, "arguments": []}, "args and arguments exclude each other"),
        ({"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        ({"image_pull_policy": "never"}, "image_pull_policy='never' must be one of"),
        ({"files": {"data.py": "schema.sql"}}, r"^files\['data.py'\]='schema.sql' would run as text"),
        ({"template_script": "no"}, "template_script='no' must be True or False"),
        ({"in_cluster": "yes"}, "in_cluster='yes' must be True or False or None"),
        ({"args": A_CIRCLE}, "args is nested more than 100 levels deep, or holds itself"),
        ({"pod_overrides": {"spec": A_CIRCLE}}, "pod_overrides is nested more than 100 levels deep"),
    ],
)
def test_what_cannot_work_fails_at_parse(arguments: dict[str, Any], words: str) -> None:
    """What needs no rendering is refused when the DAG is parsed (R29)."""
    with pytest.raises(ValueError, match=words):
        an_operator(**arguments)


def test_templates_are_not_judged_at_parse() -> None:
    """An image or name that is still a template is checked when it is rendered."""
    assert an_operator(image="{{ params.image }}", name="{{ params.name }}").image == "{{ params.image }}"


def test_fields_are_rendered() -> None:
    """Arguments, environment and options are templates."""
    operator = rendered(
        an_operator(args={"day": "{{ ds }}"}, env={"DAY": "{{ ds }}"}, labels={"day": "{{ ds }}"}), ds="2026-01-01"
    )
    assert _fields.reveal(operator.args) == {"day": "2026-01-01"}
    assert _fields.reveal(operator.env) == {"DAY": "2026-01-01"}
    assert operator.labels == {"day": "2026-01-01"}


@pytest.mark.parametrize("script", ["echo ${#arr[@]} {{ x }} {% raw", "print(f'{{x}}')"])
def test_the_script_is_not_rendered(script: str) -> None:
    """By default a script's bytes arrive unchanged (R24)."""
    operator = rendered(an_operator(script), x=1)
    assert operator.script.fetch().text == script


def test_the_script_is_rendered_where_that_is_asked_for() -> None:
    """``template_script`` makes the text a template."""
    assert rendered(an_operator("echo {{ x }}", template_script=True), x=1).script.fetch().text == "echo 1"


def test_a_sources_fields_are_rendered() -> None:
    """A path may be a template, whether the script's or a file's."""
    files = {"b.py": FileScript("{{ x }}/b.py")}
    operator = rendered(an_operator("file:///{{ x }}/a.py", files=files), x="etl")
    assert (operator.script.path, operator.files["b.py"].path) == ("file:///etl/a.py", "etl/b.py")


def test_the_connection_of_a_uri_is_rendered() -> None:
    """It reaches the source, and is a template too."""
    operator = rendered(an_operator("s3://{{ x }}/a.py", script_conn_id="{{ x }}_aws"), x="etl")
    assert (operator.script.uri, operator.script.conn_id) == ("s3://etl/a.py", "etl_aws")


def test_headers_are_rendered_and_not_shown() -> None:
    """Neither in the serialized DAG nor on the page Rendered Templates (R26)."""
    source = HttpScript("https://h/a.py?sig={{ x }}", headers={"X-Api-Key": "{{ x }}"})
    operator = rendered(an_operator(source, files={"b.py": copy.copy(source)}), x="hunter2")
    assert operator.script.headers == {"X-Api-Key": "hunter2"}
    assert "hunter2" not in f"{operator.script}{operator.files}"


def test_one_expression_is_what_it_renders_to() -> None:
    """A script that is nothing but an expression may be a text or a URI; that is told when it is rendered."""
    operator = rendered(an_operator("{{ params.script }}"), params={"script": "file:///a.py"})
    assert operator.script == FileScript("file:///a.py")


def test_one_expression_may_be_a_presigned_url() -> None:
    """The page Rendered Templates shows it without what it is signed with; its connection is kept (R26)."""
    operator = rendered(an_operator("{{ x }}", script_conn_id="mine"), x="https://h/a.py?sig=hunter2")
    assert (operator.script.uri, operator.script.conn_id) == ("https://h/a.py?sig=hunter2", "mine")
    assert str(operator.script) == "https://h/a.py?…"


def test_rendering_keeps_the_dags_own_templates() -> None:
    """A second task instance renders the DAG's templates, not the first one's results."""
    source, file, env = InlineScript("echo {{ x }}", template=True), FileScript("{{ x }}"), {"X": "{{ x }}"}
    original = an_operator(source, files={"f": file}, env=env, args=["{{ x }}"])
    hidden = (original.env, original.args)
    rendered(original, x=1)
    assert (source.text, file.path, env) == ("echo {{ x }}", "{{ x }}", {"X": "{{ x }}"})
    assert [field.value for field in hidden] == [{"X": "{{ x }}"}, ["{{ x }}"]]


def test_a_template_error_in_a_script_says_where() -> None:
    """Line, its text, the error and the argument that made Jinja look."""
    operator = an_operator("echo\necho ${#arr[@]}\n", template_script=True)
    with pytest.raises(ValueError, match="script cannot be rendered: line") as error:
        rendered(operator)
    assert "'echo ${#arr[@]}'" in str(error.value)
    assert str(error.value).endswith("Set template_script=False to run it unchanged.")


def test_the_text_of_a_task_is_shown() -> None:
    """The page Rendered Templates has an inline script as it runs; the DAG's own source is left as it is."""
    original = an_operator("echo ${#arr[@]}")
    source = original.script
    assert serialize_template_field(rendered(original).script, "script") == "echo ${#arr[@]}"
    assert serialize_template_field(source, "script") == "inline script, 15 bytes"


def test_the_text_of_a_mapped_task_is_shown() -> None:
    """Airflow makes a mapped task anew and renders it in a way of its own."""
    with DAG("mapped", schedule=None):
        mapped = KubernetesScriptOperator.partial(task_id="t", script="echo").expand(args=[{"n": 1}])
    task: Any = mapped.unmap({"args": {"n": 1}})
    task._do_render_template_fields(task, task.template_fields, {}, task.get_template_env(), set())
    assert serialize_template_field(task.script, "script") == "echo"


@pytest.mark.parametrize(
    ("partial", "mapped"),
    [({"script": "{{ secret }}"}, {"args": [{}]}), ({"args": {}}, {"script": ["echo hunter2"]})],
)
def test_a_text_that_a_mapped_task_gets_is_not_shown(partial: dict[str, Any], mapped: dict[str, Any]) -> None:
    """Neither from an expression nor from another task (R26)."""
    with DAG("mapped", schedule=None):
        each = KubernetesScriptOperator.partial(task_id="t", **partial).expand(**mapped)
    task: Any = each.unmap({name: values[0] for name, values in mapped.items()})
    if "script" in mapped:
        task.script = "echo hunter2"  # as Airflow resolves another task's output
    context = {"secret": "echo hunter2"}
    task._do_render_template_fields(task, task.template_fields, context, task.get_template_env(), set())
    assert task.script.text == "echo hunter2"
    assert "hunter2" not in str(serialize_template_field(task.script, "script"))


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("echo {{ secret }}", {"template_script": True}), ("{{ secret }}", {})],
)
def test_a_text_that_is_known_when_the_task_runs_is_not_shown(script: str, arguments: dict[str, Any]) -> None:
    """It may hold what a connection or a variable had, which Airflow masks only where it knows it (R26)."""
    operator = rendered(an_operator(script, **arguments), secret="echo hunter2")
    assert "hunter2" in operator.script.text
    assert "hunter2" not in str(serialize_template_field(operator.script, "script"))


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        (_fields.hide({"KEY": "hunter2", "B": "hunter2"}), "KEY, B (values hidden)"),
        (_fields.hide(["hunter2", "hunter2"]), "2 items (values hidden)"),
        (_fields.hide(["hunter2"]), "1 item (values hidden)"),
        (_fields.hide({}), "none (values hidden)"),
        (_fields.hide("hunter2"), "(hidden)"),
    ],
)
def test_hidden_fields_show_names_only(field: Any, shown: str) -> None:
    """What the Rendered Templates page shows of env and args (R26)."""
    assert str(field) == shown


def test_requirements_are_shown_without_what_their_addresses_carry() -> None:
    """Login and query of an index's URL may be its password (R26)."""
    lines = ["pandas==2.2.3", "--extra-index-url https://me:hunter2@pypi.example/simple?key=hunter2"]
    field = an_operator(install_dependencies=lines).install_dependencies
    assert str(field) == "pandas==2.2.3\n--extra-index-url https://pypi.example/simple?…"


def test_none_is_not_hidden() -> None:
    """Nothing given is nothing to hide."""
    assert _fields.hide(None) is None


@pytest.mark.parametrize("place", ["args", "arguments", "env", "script", "files"])
def test_other_tasks_outputs_are_waited_for(place: str) -> None:
    """A task whose output stands in an argument runs first."""
    with DAG("outputs", schedule=None):
        before = BaseOperator(task_id="before")
        value = (
            before.output if place == "script" else [before.output] if place == "arguments" else {"A": before.output}
        )
        task = an_operator(**{place: value})
    assert task.upstream_task_ids == {"before"}


def test_a_dry_run_prints_the_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """Job, ConfigMap and Secret as YAML, the Secret's values hidden (R26)."""
    an_operator(env={"KEY": "hunter2"}, namespace="etl").dry_run()
    printed = capsys.readouterr().out
    assert [thing["kind"] for thing in yaml.safe_load_all(printed)] == ["Job", "ConfigMap", "Secret"]
    assert "hunter2" not in printed


def test_a_dry_run_without_values_has_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what would be created is printed."""
    an_operator().dry_run()
    assert [thing["kind"] for thing in yaml.safe_load_all(capsys.readouterr().out)] == ["Job", "ConfigMap"]


def test_a_dry_run_finds_files_beside_the_dag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Relative paths start from the folder of the DAG's file."""
    (tmp_path / "etl.py").write_text("print('from file')")
    with DAG("dry", schedule=None) as dag:
        dag.fileloc = str(tmp_path / "dag.py")
        an_operator(FileScript("etl.py")).dry_run()
    assert "from file" in capsys.readouterr().out


def test_a_kill_before_execute_keeps_the_run_from_beginning() -> None:
    """A task that was killed before it began creates nothing (R1)."""

    class TaskInstance:
        dag_id, task_id, run_id, map_index, try_number, id = "etl", "load", "r1", -1, 1, "killed-early"

    operator = an_operator()
    operator.on_kill()
    with pytest.raises(RunKilledError):
        operator.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]  # all of it that is read


A_TASK_INSTANCE = SimpleNamespace(
    dag_id="etl", task_id="load", run_id="r1", map_index=-1, try_number=1, max_tries=2, id="killed-late"
)


@pytest.mark.parametrize(("state", "is_left"), [("running", True), ("failed", False)])
def test_a_kill_before_the_deferral(state: str, is_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker may end before the task is deferred: only a user's kill deletes the Job (R1, R3)."""
    monkeypatch.setattr(_task_run, "task_state", lambda _: state)
    monkeypatch.setattr(JobTaskRun, "delete", lambda *_: True)
    operator = an_operator(deferrable=True)
    operator.on_kill()
    context: Any = {"ti": A_TASK_INSTANCE}
    with pytest.raises(RunKilledError, match="is left to the next try" if is_left else "is deleted"):
        operator._defer(Deferral(a_launched_job(), FollowState(), "https://server"), context)


LIVE_STATES = ["running", "deferred", "queued", "up_for_retry", None]


@pytest.mark.parametrize("state", [*LIVE_STATES, "failed", "success", "restarting", "gone"])
def test_a_task_that_was_ended_does_not_defer(state: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow would refuse the deferral, start no trigger, and leave the Job to itself (R3)."""

    def state_of(_: object) -> str:
        if state is None:
            raise TimeoutError("Airflow does not answer")
        return state

    deleted: list[Any] = []
    monkeypatch.setattr(_task_run, "task_state", state_of)
    monkeypatch.setattr(JobTaskRun, "delete", lambda _, ref: deleted.append(ref))
    deferral = Deferral(a_launched_job(), FollowState(), "https://server")
    context: Any = {"ti": A_TASK_INSTANCE}
    with pytest.raises(TaskDeferred if state in LIVE_STATES else RunKilledError) as raised:
        an_operator(deferrable=True)._defer(deferral, context)
    assert deleted == ([] if state in LIVE_STATES else [deferral.job.ref])
    assert state in LIVE_STATES or f"For Airflow the task is {state}: Job etl/load is deleted" in str(raised.value)


@pytest.mark.parametrize("kind", ["timeout", "SIGTERM"])
def test_what_comes_during_the_question_before_a_deferral(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger ends the Job of a task without time; a kill must not be forgotten (R3, R5)."""
    operator, deleted = an_operator(deferrable=True), list[Any]()

    def asked(*_: Any) -> None:
        if kind == "timeout":
            raise AirflowTaskTimeout("Timeout, PID: 1")
        operator.on_kill()

    monkeypatch.setattr(JobTaskRun, "end_if_over", asked)
    monkeypatch.setattr(JobTaskRun, "delete", lambda _, ref: deleted.append(ref))
    monkeypatch.setattr(_task_run, "task_state", lambda _: "failed")
    deferral = Deferral(a_launched_job(), FollowState(), "https://server")
    context: Any = {"ti": A_TASK_INSTANCE}
    with pytest.raises(TaskDeferred if kind == "timeout" else RunKilledError):
        operator._defer(deferral, context)
    assert deleted == ([] if kind == "timeout" else [deferral.job.ref])


@pytest.mark.parametrize(
    ("method", "given", "recovers"),
    [
        ("__fail__", {"error": "Trigger failure", "traceback": ["ModuleNotFoundError: airflow_script_provider"]}, True),
        ("__fail__", {"error": "unknown argument"}, True),
        ("__fail__", None, True),
        ("__fail__", {"error": "Trigger timeout"}, False),
        ("execute_complete", {"event": {}}, False),
    ],
)
def test_a_worker_follows_the_job_where_no_trigger_could(
    method: str, given: dict[str, Any] | None, recovers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer may lack the provider, or have another version of it (R4)."""
    seen: list[tuple[bool, bool]] = []
    operator = an_operator(deferrable=True)
    as_run = {"execute": lambda _: seen.append((operator.deferrable, operator._recovers))}
    monkeypatch.setattr(operator, "execute", as_run["execute"], raising=False)
    monkeypatch.setattr(operator, "execute_complete", lambda *_, **__: None)
    context: Any = {}
    is_timeout = given == {"error": "Trigger timeout"}
    with pytest.raises(AirflowException, match="Trigger timeout") if is_timeout else nullcontext():
        operator.resume_execution(method, given, context)
    assert seen == ([(False, True)] if recovers else [])


def test_a_failure_may_be_tried_again() -> None:
    """An ordinary failure is raised as it is, with its result."""
    with pytest.raises(ScriptFailedError) as failure:
        _errors.result_or_raise(a_failed_outcome())
    assert failure.value.result == a_failed_result()


def test_a_final_failure_is_airflows_own() -> None:
    """Where no retry helps, Airflow is told so."""
    with pytest.raises(AirflowFailException, match="exit code 3"):
        _errors.result_or_raise(a_failed_outcome(retryable=False))


def test_an_exit_code_that_skips_skips() -> None:
    """The first line of the failure, and which argument made it a skip."""
    words = r"^Job etl/load failed: .* exit code 3. Skipped, as skip_on_exit_code says.$"
    with pytest.raises(AirflowSkipException, match=words):
        _errors.result_or_raise(a_failed_outcome(skipped=True, last_lines=["x"]))


def test_a_source_that_cannot_be_mended_fails_for_good() -> None:
    """A wrong digest is not tried again."""
    with pytest.raises(AirflowFailException, match="wrong"):
        _errors.raise_error(ScriptSourceError("wrong", retryable=False))


def test_a_final_failure_is_told_once() -> None:
    """The task's log shows an exception with all its causes, and one of ours would repeat the message."""

    def execute() -> None:
        try:
            raise ScriptSourceError("wrong digest", retryable=False)
        except ScriptSourceError as error:
            _errors.raise_error(error)

    with pytest.raises(AirflowFailException) as failure:
        execute()
    assert "".join(traceback.format_exception(failure.value)).count("wrong digest") == 1


def test_a_skip_is_one_short_line() -> None:
    """However long the cause is, the skip's line says which argument made it one (R22)."""
    diagnosis = Diagnosis("x", "Job " + "x" * 196, Category.ERROR, "Error")
    long = replace(a_failed_outcome(skipped=True), diagnosis=diagnosis)
    with pytest.raises(AirflowSkipException) as skip:
        _errors.result_or_raise(long)
    assert str(skip.value).endswith("x… Skipped, as skip_on_exit_code says.")
    assert len(str(skip.value)) == 200


def test_an_empty_file_may_stand_beside_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """A package needs its ``__init__.py``."""
    an_operator(files={"lib/__init__.py": ""}).dry_run()
    assert "path: lib/__init__.py" in capsys.readouterr().out
