"""``@task.kubernetes_script``: run the script that a function returns, as a Kubernetes Job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from airflow_script_provider.decorators._returned import ReturnedScript, decorator_for
from airflow_script_provider.operators.script import KubernetesScriptOperator


class DecoratedKubernetesScriptOperator(ReturnedScript, KubernetesScriptOperator):
    """
    Run the script that a function returns, as a Kubernetes Job.

    Takes the arguments of ``KubernetesScriptOperator`` except ``script``.
    The result is the same.

    :param python_callable: the decorated function. It returns the script: its text, a one-line URI
        or a source such as ``S3Script(…)``.
    """

    template_fields: Sequence[str] = (*ReturnedScript.template_fields, *KubernetesScriptOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **ReturnedScript.template_fields_renderers,
        **KubernetesScriptOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.kubernetes_script"


kubernetes_script_task = decorator_for(DecoratedKubernetesScriptOperator, KubernetesScriptOperator)
