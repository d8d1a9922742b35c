"""DAGs of the tests that need a whole Airflow."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import HttpScript

SCRIPT_URL = os.environ.get("TEST_SCRIPT_URL", "http://127.0.0.1:1")
NAMESPACE = os.environ.get("TEST_NAMESPACE", "default")

with DAG("sleeps", schedule=None):
    KubernetesScriptOperator(
        task_id="sleep",
        namespace=NAMESPACE,
        script="import time\nprint('asleep')\ntime.sleep(300)",
        termination_grace_period=1,
    )

with DAG("counts", schedule=None):
    KubernetesScriptOperator(
        task_id="count",
        namespace=NAMESPACE,
        script="import time\nfor i in range(15):\n    print('n', i)\n    time.sleep(1)",
        termination_grace_period=1,
        retries=1,
        retry_delay=timedelta(seconds=1),
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

with DAG("fetches", schedule=None):
    scripts: dict[str, Any] = {
        "fetch": HttpScript(
            f"{SCRIPT_URL}/echo.sh?sig={{{{ var.value.signature }}}}",
            headers={"X-Api-Key": "{{ conn.partner_api.password }}"},
        ),
        "denied": HttpScript(f"{SCRIPT_URL}/denied.sh?sig={{{{ var.value.signature }}}}", conn_id="partner_api"),
        "presigned": f"{{{{ '{SCRIPT_URL}/echo.sh?sig=' + var.value.signature }}}}",
    }
    for task, script in scripts.items():
        KubernetesScriptOperator(task_id=task, namespace=NAMESPACE, script=script)
