"""DAGs of the tests that need a whole Airflow."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")

with DAG("sleeps", schedule=None):
    KubernetesScriptOperator(
        task_id="sleep",
        namespace=NAMESPACE,
        script="import time\nprint('asleep')\ntime.sleep(300)",
        termination_grace_period=1,
    )

with DAG("fails", schedule=None):
    KubernetesScriptOperator(
        task_id="fail",
        namespace=NAMESPACE,
        script="print('before')\nraise SystemExit(3)",
        backoff_limit=0,
    )

with DAG("hides", schedule=None):
    KubernetesScriptOperator(
        task_id="hide",
        namespace=NAMESPACE,
        script="import os, sys\nprint('DEBUG is', os.environ['LOG_LEVEL'])\n"
        "print('key', os.environ['API_KEY'], 'named', os.environ['PARTNER'])\nprint(sys.argv[1])",
        args={"password": "argument-secret", "plain": "readable", "conn": "{{ conn.partner_api.password }}"},
        env={
            "LOG_LEVEL": "DEBUG",
            "API_KEY": "environment-secret",
            "PARTNER": "{{ conn.partner_api.password }}",
        },
    )
