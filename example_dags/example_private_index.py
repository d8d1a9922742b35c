"""Install a package from a private index.

The connection ``package_index`` has the index's scheme, host, port, login and password.
"""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

INDEX = (
    "{{ conn.package_index.schema }}://{{ conn.package_index.login }}:{{ conn.package_index.password }}"
    "@{{ conn.package_index.host }}:{{ conn.package_index.port }}/simple"
)

with DAG("example_private_index", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="answer",
        script="import private_tool\nprint('the answer is', private_tool.ANSWER)",
        install_dependencies=["airflow-script-private-tool==1.0"],
        env={
            "PIP_INDEX_URL": INDEX,
            "PIP_TRUSTED_HOST": "{{ conn.package_index.host }}",  # only for an index without TLS
        },
    )
