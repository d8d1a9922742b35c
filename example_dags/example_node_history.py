"""Keep the results of every node in a database table, across DAG runs."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.node import KubernetesNodeScriptOperator
from airflow_script_provider.operators.script import KubernetesScriptOperator

DISK = """
import json, shutil

disk = shutil.disk_usage("/")
print(json.dumps({"used": round(100 * disk.used / disk.total)}))
"""
KEEP = """
create table if not exists node_history (run_id text, node text, started_at timestamptz, exit_code int, value jsonb);
insert into node_history
select :'run_id', node, (run ->> 'started_at')::timestamptz, (run ->> 'exit_code')::int, run -> 'value'
from jsonb_each(:'nodes') as nodes (node, history), jsonb_array_elements(history -> 'runs') as runs (run);
select 'kept ' || count(*) || ' rows of this run' from node_history where run_id = :'run_id';
"""

with DAG("example_node_history", schedule=None, tags=["script-provider"]):
    disks = KubernetesNodeScriptOperator(task_id="disks", script=DISK, node_selector="kubernetes.io/os=linux")

    KubernetesScriptOperator(
        task_id="keep",
        trigger_rule="all_done",  # the result exists even if a node failed
        script=KEEP,
        image="postgres:15-alpine",
        args={
            "run_id": "{{ run_id }}",
            "nodes": "{{ ti.xcom_pull(task_ids='disks')['nodes'] | tojson }}",
        },
        env={
            "PGHOST": "{{ conn.warehouse.host }}",
            "PGUSER": "{{ conn.warehouse.login }}",
            "PGPASSWORD": "{{ conn.warehouse.password }}",
            "PGDATABASE": "{{ conn.warehouse.schema }}",
        },
    ).set_upstream(disks)
