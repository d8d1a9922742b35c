"""``@task.kubernetes_exec_script``: run the script that a function returns, in a running pod."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from airflow_script_provider.decorators._returned import ReturnedScript, decorator_for
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator


class DecoratedKubernetesExecScriptOperator(ReturnedScript, KubernetesExecScriptOperator):
    """
    Run the script that a function returns, in a running pod.

    Takes the arguments of ``KubernetesExecScriptOperator`` except ``script``.
    The result is the same.

    :param python_callable: the decorated function. It returns the script: its text, a one-line URI
        or a source such as ``S3Script(…)``.
    """

    template_fields: Sequence[str] = (*ReturnedScript.template_fields, *KubernetesExecScriptOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **ReturnedScript.template_fields_renderers,
        **KubernetesExecScriptOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.kubernetes_exec_script"


kubernetes_exec_script_task = decorator_for(DecoratedKubernetesExecScriptOperator, KubernetesExecScriptOperator)
