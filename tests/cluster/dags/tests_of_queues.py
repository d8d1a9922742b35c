"""A DAG of the tests of Kueue: deferred scripts in the queue ``team-a``, which has room for one."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from tests.patience import LONG

with DAG("queued", schedule=None):
    for task in ("cleared", "marked_failed"):
        KubernetesScriptOperator(
            task_id=task,
            namespace=os.environ.get("TEST_NAMESPACE", "default"),
            script="print('this is try', {{ ti.try_number }})",
            template_script=True,
            labels={"kueue.x-k8s.io/queue-name": "team-a"},
            container_resources={"requests": {"cpu": "1"}},
            schedule_timeout=LONG,
            termination_grace_period=2,
            deferrable=True,
            defer_after=0,
        )
