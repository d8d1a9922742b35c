"""A DAG for each contender, with one task."""

from __future__ import annotations

import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from benchmarks.contenders import OPERATORS, Task, operator
from benchmarks.latency import SCRIPT
from benchmarks.scheduled import NOTHING, dag_id

TASK = Task(SCRIPT, os.environ["BENCHMARK_NAMESPACE"])

with DAG(dag_id(NOTHING), schedule=None):
    BashOperator(task_id="benchmark", bash_command="echo hi")

for name in OPERATORS:
    with DAG(dag_id(name), schedule=None):
        operator(name, TASK)
