"""The operators' arguments, as the reference lists them.

Type, meaning, default and template come from the operators themselves. Only an example and the
fields of Kubernetes are written here. ``tests/docs/test_arguments.py`` checks both: it gives every
example to the constructor, and looks for the fields in the objects that would be created.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator

OPERATORS: Mapping[str, type] = {
    "script": KubernetesScriptOperator,
    "exec": KubernetesExecScriptOperator,
    "node": KubernetesNodeScriptOperator,
}
"""The operators, by the module that they are in."""
REQUIRED = (("script", "script"), ("node", "script"))
"""Operator and argument that have no default, although the signature has None."""

_POD = "spec.template.spec"
_SCRIPT = f"{_POD}.containers[script]"
_LABELS = ("metadata.{}", "spec.template.metadata.{}")
_PARAM = re.compile(r"^ *:param (\w+): ([^:]+): (.*?)(?=^ *:param |\Z)", re.MULTILINE | re.DOTALL)
_TEMPLATED = " (templated)"


@dataclass(frozen=True)
class Fact:
    """An example as Python source, and the fields that the argument sets.

    A field is a path in the Job, or in the object whose kind stands in front of it. On nodes, the Job
    is a run's, and ``owner`` is the Job that owns the runs. ``[name]`` picks the entry of a list that
    has this name.
    """

    example: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Argument:
    """One argument of an operator. ``shape`` and ``meaning`` are marked up as in the docstring."""

    operator: str
    name: str
    shape: str
    meaning: str
    default: Any
    is_templated: bool
    fact: Fact

    @property
    def anchor(self) -> str:
        """The id of its entry on the page."""
        return f"{self.operator}-{self.name}".replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default, in Markdown."""
        if (self.operator, self.name) in REQUIRED:
            return "Required."
        if self.name == "deferrable":
            return "Default: the setting `[operators] default_deferrable`, otherwise `False`."
        return f"Default: `{self.default!r}`{self._in_larger_units()}."

    def says_the_same(self, other: Argument) -> bool:
        """Whether a reader of the other entry learns nothing from this one."""
        return self._entry() == other._entry() and self.fact.fields in ((), other.fact.fields)

    def _entry(self) -> tuple[Any, ...]:
        return self.shape, self.meaning, self.default, self.is_templated

    def _in_larger_units(self) -> str:
        if self.shape.startswith("seconds") and self.default is not None and self.default >= 3600:
            return f" ({self.default // 3600} h)"
        return f" ({self.default // 1024} KiB)" if self.shape.endswith("bytes") else ""


FACTS: Mapping[str, Fact] = {
    "script": Fact("\"print('hello')\"", ("ConfigMap data.script",)),
    "script_conn_id": Fact('"repo"'),
    "sha256": Fact('"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'),
    "template_script": Fact("True"),
    "interpreter": Fact('["bash", "-eu"]', (f"{_SCRIPT}.command",)),
    "args": Fact('{"day": "{{ ds }}"}', (f"{_SCRIPT}.args", f"{_SCRIPT}.env")),
    "arguments": Fact('["--day", "{{ ds }}"]', (f"{_SCRIPT}.args", f"{_SCRIPT}.env")),
    "env": Fact('{"REGION": "eu-central"}', (f"{_SCRIPT}.env",)),
    "env_from": Fact('[{"secretRef": {"name": "partner"}}]', (f"{_SCRIPT}.envFrom",)),
    "files": Fact('{"data/stop_words.txt": "and\\nor\\n"}', ("ConfigMap data", f"{_POD}.volumes")),
    "install_dependencies": Fact('["requests==2.32.3"]', (f"{_POD}.initContainers",)),
    "install_packages": Fact('["jq"]', (f"{_SCRIPT}.command",)),
    "image": Fact('"node:20-slim"', (f"{_SCRIPT}.image",)),
    "image_pull_policy": Fact('"Always"', (f"{_SCRIPT}.imagePullPolicy",)),
    "image_pull_secrets": Fact('["registry"]', (f"{_POD}.imagePullSecrets",)),
    "container_resources": Fact(
        '{"requests": {"cpu": "500m"}, "limits": {"memory": "512Mi"}}', (f"{_SCRIPT}.resources",)
    ),
    "run_as_uid": Fact(
        "1000", (f"{_POD}.securityContext.runAsUser", f"{_SCRIPT}.securityContext.readOnlyRootFilesystem")
    ),
    "volumes": Fact('[{"name": "data", "persistentVolumeClaim": {"claimName": "orders"}}]', (f"{_POD}.volumes",)),
    "volume_mounts": Fact('[{"name": "data", "mountPath": "/data"}]', (f"{_SCRIPT}.volumeMounts",)),
    "service_account_name": Fact('"loader"', (f"{_POD}.serviceAccountName", f"{_POD}.automountServiceAccountToken")),
    "labels": Fact('{"team": "etl"}', tuple(path.format("labels") for path in _LABELS)),
    "annotations": Fact(
        '{"example.com/owner": "etl@example.com"}', tuple(path.format("annotations") for path in _LABELS)
    ),
    "name": Fact('"load-orders"', ("metadata.name",)),
    "pod_overrides": Fact(
        '{"spec": {"hostAliases": [{"ip": "10.20.0.7", "hostnames": ["warehouse"]}]}}', ("spec.template",)
    ),
    "node_selector": Fact('{"disk": "ssd"}', (f"{_POD}.nodeSelector",)),
    "affinity": Fact(
        '{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": '
        '{"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}}',
        (f"{_POD}.affinity",),
    ),
    "tolerations": Fact('[{"key": "dedicated", "operator": "Exists"}]', (f"{_POD}.tolerations",)),
    "namespace": Fact('"etl"', ("metadata.namespace",)),
    "kubernetes_conn_id": Fact('"etl_cluster"'),
    "in_cluster": Fact("True"),
    "config_file": Fact('"/opt/airflow/kubeconfig"'),
    "cluster_context": Fact('"production"'),
    "timeout": Fact("timedelta(hours=2)", ("spec.activeDeadlineSeconds",)),
    "schedule_timeout": Fact("timedelta(hours=6)"),
    "startup_timeout": Fact("900"),
    "backoff_limit": Fact("0", ("spec.backoffLimit",)),
    "termination_grace_period": Fact("120", (f"{_POD}.terminationGracePeriodSeconds",)),
    "ttl_seconds_after_finished": Fact("timedelta(days=7)", ("spec.ttlSecondsAfterFinished",)),
    "keep_failed": Fact("timedelta(days=7)"),
    "unread_ttl": Fact("timedelta(days=2)", ("spec.ttlSecondsAfterFinished",)),
    "skip_on_exit_code": Fact("99", ("spec.podFailurePolicy.rules",)),
    "fail_on_exit_code": Fact("[2, 3]", ("spec.podFailurePolicy.rules",)),
    "get_logs": Fact("False"),
    "max_output_bytes": Fact("256 * 1024"),
    "deferrable": Fact("True"),
    "defer_after": Fact("60"),
}
"""Of the operator for Jobs."""

FACTS_ELSEWHERE: Mapping[str, Mapping[str, Fact]] = {
    "script": {},
    "exec": {
        "deployment": Fact('"api"'),
        "statefulset": Fact('"db"'),
        "pod": Fact('"api-7d9f8b6c5-x2x4v"'),
        "label_selector": Fact('"app=api,tier!=web"'),
        "container": Fact('"api"'),
        "command": Fact('["npx", "prisma", "migrate", "deploy"]'),
        "working_dir": Fact('"/app"'),
    },
    "node": {
        "node_selector": Fact('"role=db,zone in (a,b)"'),
        "nodes": Fact('["db-7", "db-9"]'),
        "all_nodes": Fact("True"),
        "include_unready": Fact("True"),
        "include_cordoned": Fact("False"),
        "mode": Fact('"host"', (f"{_SCRIPT}.securityContext.privileged", f"{_POD}.hostPID", f"{_POD}.volumes")),
        "runs": Fact("3"),
        "interval": Fact("60"),
        "max_parallel": Fact("1"),
        "stop_after_failures": Fact("1"),
        "retry_failed_only": Fact("False"),
        "history_limit": Fact("30"),
        "startup_timeout": Fact("900", (f"{_POD}.tolerations",)),
        "ttl_seconds_after_finished": Fact("timedelta(days=7)", ("owner spec.ttlSecondsAfterFinished",)),
        "unread_ttl": Fact("timedelta(days=2)", ("owner spec.ttlSecondsAfterFinished",)),
        "max_output_bytes": Fact("8 * 1024"),
    },
}
"""Of the other operators, where they have another argument or another field."""


def arguments_of(operator: str) -> dict[str, Argument]:
    """All arguments of an operator, by name and in the order of its signature."""
    kind = OPERATORS[operator]
    parameters = inspect.signature(kind).parameters.values()
    given = [one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]
    texts = {name: (shape, " ".join(text.split())) for name, shape, text in _PARAM.findall(kind.__doc__ or "")}
    return {
        one.name: Argument(
            operator,
            one.name,
            texts[one.name][0],
            texts[one.name][1].removesuffix(_TEMPLATED),
            one.default,
            one.name in kind.template_fields,  # type: ignore[attr-defined]  # an operator
            _fact(operator, one.name),
        )
        for one in given
    }


def without_arguments(lines: list[str]) -> list[str]:
    """The lines of an operator's docstring in front of its arguments, and of the line about them."""
    paragraphs = "\n".join(lines).split("\n\n")
    kept = [text for text in paragraphs if not text.startswith((":param", "Each argument is listed"))]
    return "\n\n".join(kept).splitlines()


def _fact(operator: str, name: str) -> Fact:
    fact = FACTS_ELSEWHERE[operator].get(name) or FACTS[name]
    return Fact(fact.example) if operator == "exec" else fact  # a running pod is not changed
