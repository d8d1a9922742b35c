"""``@task.kubernetes_node_script``: run the script that a function returns, on nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from airflow_script_provider.decorators._returned import ReturnedScript, decorator_for
from airflow_script_provider.operators.node import KubernetesNodeScriptOperator


class DecoratedKubernetesNodeScriptOperator(ReturnedScript, KubernetesNodeScriptOperator):
    """
    Run the script that a function returns, on nodes of the cluster.

    Takes the arguments of ``KubernetesNodeScriptOperator`` except ``script``.
    The result is the same.

    :param python_callable: the decorated function. It returns the script: its text, a one-line URI
        or a source such as ``S3Script(…)``.
    """

    template_fields: Sequence[str] = (*ReturnedScript.template_fields, *KubernetesNodeScriptOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **ReturnedScript.template_fields_renderers,
        **KubernetesNodeScriptOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.kubernetes_node_script"


kubernetes_node_script_task = decorator_for(DecoratedKubernetesNodeScriptOperator, KubernetesNodeScriptOperator)
