"""Operators made of steps in the Script tool's format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import ParamsDict

from airflow_script_provider.operators import _fields
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import FileScript, GCSScript, HttpScript, InlineScript, S3Script

INLINE = {"type": "inline", "content": "echo {{ x }} ${#a[@]}"}
STEP = """
- step: load
  desc: Loads the day
  tool:
    kind: script
    script:
      uri: s3://scripts/load.py
      source: {type: s3, region: eu-west-1, auth: warehouse}
    args:
      day: "{{ workload.day }}"
      parts: [{name: a}, {name: b}]
    job:
      image: python:3.12-slim
      ttlSecondsAfterFinished: 60
      activeDeadlineSeconds: 900
      install_dependencies: [polars]
      resources: {limits: {memory: 1Gi, nvidia.com/gpu: 1}}
      env: {PASSWORD: "{{ secret.db_password }}", RETRIES: 3}
"""


def rendered(operator: KubernetesScriptOperator, **context: Any) -> KubernetesScriptOperator:
    """The operator after Airflow has rendered its fields."""
    operator.render_template_fields(context)  # type: ignore[arg-type]  # a few names are a context here
    return operator


def test_a_step_becomes_an_operator() -> None:
    """Everything that the step says, under our names; what it leaves out as that tool has it."""
    operator = KubernetesScriptOperator.from_spec(spec=STEP)
    said = ("task_id", "doc_md", "namespace", "labels", "name", "image", "ttl_seconds_after_finished", "timeout",
            "install_dependencies", "container_resources", "backoff_limit", "template_script")  # fmt: skip
    assert {name: _fields.reveal(getattr(operator, name)) for name in said} == {
        "task_id": "load",
        "doc_md": "Loads the day",
        "namespace": "noetl",
        "labels": {"app": "noetl-script"},
        "name": None,
        "image": "python:3.12-slim",
        "ttl_seconds_after_finished": 60,
        "timeout": 900,
        "install_dependencies": ["polars"],
        "container_resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
        "backoff_limit": 3,
        "template_script": False,
    }
    assert operator.script == S3Script("s3://scripts/load.py", conn_id="warehouse", region="eu-west-1")


def test_its_templates_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    """``workload`` is the run's, ``secret`` is Airflow's."""
    monkeypatch.setenv("AIRFLOW_VAR_DB_PASSWORD", "a-password")
    operator = rendered(KubernetesScriptOperator.from_spec(spec=STEP), params=ParamsDict({"day": "2026-01-01"}))
    assert _fields.reveal(operator.args) == {"day": "2026-01-01", "parts": [{"name": "a"}, {"name": "b"}]}
    assert _fields.reveal(operator.env) == {"PASSWORD": "a-password", "RETRIES": "3"}


OF_THE_JOB = ("timeout", "backoff_limit", "ttl_seconds_after_finished", "image_pull_policy")
JOB_OF_TEMPLATES = {
    "activeDeadlineSeconds": "{{ workload.minutes * 60 }}",
    "backoffLimit": "{{ attempts | default(1) }}",
    "ttl_seconds_after_finished": "{% if workload.keep is defined %}{{ workload.keep }}{% else %}60{% endif %}",
    "image_pull_policy": "{{ workload.pull }}",
}


def test_settings_of_the_job_may_be_templates() -> None:
    """Numbers, too, which rendering makes of text."""
    spec = {"script": INLINE, "job": JOB_OF_TEMPLATES, "workload": {"minutes": 1.5, "pull": "Always"}}
    operator = rendered(KubernetesScriptOperator.from_spec(task_id="t", spec=spec), params={"keep": 0})
    assert [getattr(operator, name) for name in OF_THE_JOB] == [90, 1, 0, "Always"]
    assert operator.job_options().checked().timeout == 90


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"timeout": "soon"}, "timeout='soon' must be seconds or a timedelta"),
        ({"timeout": ""}, "timeout='' must be seconds or a timedelta"),
        ({"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        ({"backoff_limit": 1.5}, "backoff_limit=1.5 must be a whole number, 0 or more"),
        ({"image_pull_policy": "Often"}, "image_pull_policy='Often' must be one of Always, IfNotPresent, Never"),
    ],
)
def test_what_a_template_renders_to_is_checked(said: dict[str, Any], message: str) -> None:
    """As it is at parse where there is no template."""
    spec = {"script": INLINE, "job": {name: f"{{{{ workload.{name} }}}}" for name in said}}
    operator = rendered(KubernetesScriptOperator.from_spec(task_id="t", spec=spec), params=said)
    with pytest.raises(ValueError, match=re.escape(message)):
        operator.job_options().checked()


S3_OF_TEMPLATES = {
    "type": "{{ workload.kind }}",
    "uri": "s3://b/{{ workload.kind }}.py",
    "auth": "who",
    "region": "{{ r }}",
}


@pytest.mark.parametrize(
    ("script", "params", "expected"),
    [
        (S3_OF_TEMPLATES, {"kind": "s3", "r": "eu-west-1"}, S3Script("s3://b/s3.py", conn_id="wh", region="eu-west-1")),
        (S3_OF_TEMPLATES, {"kind": "s3", "r": ""}, S3Script("s3://b/s3.py", conn_id="wh")),
        (
            {"type": "http", "uri": "https://h/a.py", "region": "{{ r }}", "endpoint": ""},
            {"r": ""},
            HttpScript("https://h/a.py"),
        ),
        ({"type": "http", "uri": "https://h/a.py", "region": ""}, {}, HttpScript("https://h/a.py")),
        (
            {"source": {"type": "{{ kind }}"}, "content": "echo ${#a[@]}"},
            {"kind": "inline"},
            InlineScript("echo ${#a[@]}"),
        ),
        ({"type": "{{ kind }}", "content": "{{ text }}"}, {"kind": "inline", "text": "echo"}, InlineScript("echo")),
        ({"type": "{{ kind }}", "uri": "mine"}, {"kind": "local"}, InlineScript("echo mine")),
    ],
)
def test_the_type_of_a_script_may_be_a_template(
    script: dict[str, Any], params: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rendering decides what the script is; a setting that renders empty is not given."""
    fetched: list[Any] = []
    for kind in (S3Script, HttpScript, InlineScript):
        monkeypatch.setattr(kind, "fetch", lambda source, folder: fetched.append(source))
    keychain = [{"name": "who", "credential": "{{ workload.cred }}"}]
    spec = {"workflow": [{"step": "t", "tool": {"kind": "script", "script": script}}], "keychain": keychain}
    one = KubernetesScriptOperator.from_spec(spec=spec | {"workload": {"cred": "wh"}}, variables={"mine": "echo mine"})
    rendered(one, params=params).script.fetch(folder=None)
    assert fetched == [expected]


@pytest.mark.parametrize(
    ("script", "params", "message"),
    [
        (
            {"type": "{{ kind }}", "uri": "x"},
            {"kind": "htp"},
            "script has the unknown type 'htp'; did you mean 'http'?",
        ),
        (
            {"type": "http", "uri": "https://h/a", "region": "{{ r }}"},
            {"r": "x"},
            "'region', which type 'http' does not",
        ),
        ({"type": "{{ kind }}", "uri": "s3://b/a"}, {"kind": "{{ x }}"}, "settings that are still templates"),
    ],
)
def test_what_a_type_renders_to_is_checked(script: dict[str, Any], params: dict[str, Any], message: str) -> None:
    """Before anything is created."""
    operator = rendered(KubernetesScriptOperator.from_spec(task_id="t", spec={"script": script}), params=params)
    with pytest.raises(ValueError, match=re.escape(message)):
        operator.script.fetch()


def test_a_script_of_a_later_type_shows_no_address() -> None:
    """The page Rendered Templates has its type only (R26)."""
    script = {"type": "{{ kind }}", "uri": "https://h/a.py?sig=hunter2"}
    operator = KubernetesScriptOperator.from_spec(task_id="t", spec={"script": script})
    assert str(rendered(operator, params={"kind": "http"}).script) == "script of the type http"


def test_only_a_specs_operator_has_these_templates() -> None:
    """Elsewhere a template in them is an error when the DAG is parsed, as every mistake of an argument is."""
    one = KubernetesScriptOperator.from_spec(task_id="t", spec={"script": INLINE, "job": {"timeout": "{{ x }}"}})
    assert set(one.template_fields) - set(KubernetesScriptOperator.template_fields) == {"timeout"}
    with pytest.raises(ValueError, match="must be seconds or a timedelta"):
        KubernetesScriptOperator(task_id="t", script="echo", timeout="{{ x }}")  # type: ignore[arg-type]  # on purpose


def test_rendering_keeps_the_specs_templates() -> None:
    """A second task instance in one process renders the templates, not the first one's results."""
    operator = KubernetesScriptOperator.from_spec(
        spec={"script": INLINE, "args": {"d": "{{ workload.d }}"}}, task_id="t"
    )
    original = operator.args
    rendered(operator, params={"d": 1})
    assert (original.value, _fields.reveal(operator.args)) == ({"d": "{{ workload.d }}"}, {"d": "1"})


@pytest.mark.parametrize(
    ("script", "source"),
    [
        (INLINE, InlineScript("echo {{ x }} ${#a[@]}")),
        ({"type": "file", "uri": "a.py"}, FileScript("a.py")),
        ({"uri": "gs://b/o.py", "source": {"type": "gcs", "auth": "g"}}, GCSScript("gs://b/o.py", conn_id="g")),
        ({"uri": "gs://b/o.py", "source": {"type": "gcs"}}, GCSScript("gs://b/o.py")),
        ({"uri": "s3://b/o.py", "source": {"type": "s3"}}, S3Script("s3://b/o.py")),
        (
            {"uri": "a.py", "source": {"type": "http", "endpoint": "https://example.com", "timeout": 5, "auth": "h"}},
            HttpScript("a.py", endpoint="https://example.com", timeout=5, conn_id="h"),
        ),
    ],
    ids=["inline", "file", "gcs", "gcs by default", "s3", "http"],
)
def test_the_tools_mapping_is_a_script(script: Mapping[str, Any], source: Any) -> None:
    """``script=`` of the operator takes it as ``from_spec`` does."""
    assert KubernetesScriptOperator(task_id="t", script=script).script == source
    assert KubernetesScriptOperator.from_spec(task_id="t", spec={"script": script}).script == source


def test_headers_of_a_mapping_read_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the Script tool's templates are known wherever its mapping is."""
    monkeypatch.setenv("AIRFLOW_VAR_API_TOKEN", "token-of-a-variable")
    headers = {"Authorization": "Bearer {{ secret.api_token }}"}
    script = {"type": "http", "uri": "https://example.com/a.py", "headers": headers}
    operator = rendered(KubernetesScriptOperator(task_id="t", script=script))
    assert operator.script.headers == {"Authorization": "Bearer token-of-a-variable"}
    assert "token-of" not in str(operator.script)


def test_method_and_time_limit_of_a_mapping_may_be_templates() -> None:
    """As every setting of a source."""
    script = {"type": "http", "uri": "https://h/a.py", "method": "{{ workload.how }}", "timeout": "{{ workload.long }}"}
    spec = {"script": script, "workload": {"how": "post", "long": 5}}
    operator = rendered(KubernetesScriptOperator.from_spec(task_id="t", spec=spec))
    assert operator.script == HttpScript("https://h/a.py", method="post", timeout="5")


def test_mapped_tasks_know_the_names_too() -> None:
    """Airflow renders the tasks of a mapping in its own way."""
    script = {"type": "file", "uri": "{{ workload.name }}.py"}
    with DAG("mapped", schedule=None):
        mapped = KubernetesScriptOperator.partial(task_id="t", script=script).expand(args=[{"n": 1}])
    operator = mapped.unmap({"args": {"n": 1}})
    operator._do_render_template_fields(
        operator, operator.template_fields, {"params": {"name": "etl"}}, operator.get_template_env(), set()
    )
    assert vars(operator)["script"] == FileScript("etl.py")


def test_an_inline_script_arrives_unchanged() -> None:
    """Its text is no template (R24)."""
    operator = rendered(KubernetesScriptOperator.from_spec(task_id="t", spec={"script": INLINE}), x=1)
    assert operator.script.fetch().text == INLINE["content"]


def test_a_script_that_is_one_expression_is_rendered() -> None:
    """No language has such a script: it is the value that is meant."""
    spec = {"script": {"type": "inline", "content": "{{ workload.code }}\n"}, "workload": {"code": "echo 1"}}
    assert rendered(KubernetesScriptOperator.from_spec(task_id="t", spec=spec)).script.fetch().text == "echo 1"


def test_our_own_style() -> None:
    """``style="airflow"`` keeps namespace, names, labels and arguments as this operator has them."""
    operator = KubernetesScriptOperator.from_spec(task_id="t", spec={"script": INLINE}, style="airflow")
    assert (operator.namespace, operator.name, operator.labels, operator.args) == (None, None, None, None)


def test_overrides() -> None:
    """Arguments of the operator go before the spec."""
    operator = KubernetesScriptOperator.from_spec(spec=STEP, task_id="mine", namespace="etl", retries=2, timeout=5)
    assert (operator.task_id, operator.namespace, operator.retries, operator.timeout) == ("mine", "etl", 2, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"spec": {"script": INLINE}}, ValueError, "task_id is missing: the spec names no step, so give task_id=…"),
        ({"spec": STEP, "timout": 5}, TypeError, "unknown argument 'timout'; did you mean 'timeout'?"),
        ({"spec": STEP, "step": "laod"}, ValueError, "spec has no step 'laod'; did you mean 'load'?"),
        ({"spec": STEP.replace("900", "0")}, ValueError, "timeout=0 must be more than 0 seconds"),
        ({"spec": STEP.replace("900", "'15 min'")}, ValueError, "timeout='15 min' must be seconds or a timedelta"),
        ({"spec": STEP.replace("900", "'-1'")}, ValueError, "timeout=-1 must be more than 0 seconds"),
    ],
)
def test_a_mistake_fails_at_parse(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    """What is wrong with a spec or an override is said when the DAG is parsed (R29)."""
    with pytest.raises(error) as raised:
        KubernetesScriptOperator.from_spec(**arguments)
    assert message in str(raised.value)
