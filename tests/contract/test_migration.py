"""Who comes from the pod or the job operator is told of each of its arguments."""

from __future__ import annotations

import inspect

import pytest
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from airflow_script_provider.kube.request.other_operators import refuse_unknown
from airflow_script_provider.operators.exec import KubernetesExecScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator


def arguments_of(operator: type) -> set[str]:
    """The names of an operator's own arguments."""
    return set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs"}  # type: ignore[misc]  # __init__ of an instance


OURS = arguments_of(KubernetesScriptOperator) | {"do_xcom_push"}
OF_EXEC = arguments_of(KubernetesExecScriptOperator) | {"do_xcom_push"}
THEIRS = arguments_of(KubernetesPodOperator) | arguments_of(KubernetesJobOperator)


@pytest.mark.parametrize("name", sorted(THEIRS - OURS))
def test_an_argument_of_theirs_is_known(name: str) -> None:
    """It is answered with what there is here, not called unknown (R29)."""
    with pytest.raises(TypeError, match="is an argument of the pod or job operator; "):
        refuse_unknown([name], OURS)


@pytest.mark.parametrize("name", sorted(THEIRS - OURS - OF_EXEC))
def test_an_argument_of_theirs_is_known_to_the_exec_operator(name: str) -> None:
    """The same where nothing is created (R29)."""
    with pytest.raises(TypeError, match="is an argument of the pod or job operator; "):
        refuse_unknown([name], OF_EXEC)
