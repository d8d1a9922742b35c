"""Request a GPU, and tolerate the taint of GPU nodes."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

with DAG("example_gpu", schedule=None, tags=["script-provider"]):
    train = KubernetesScriptOperator(
        task_id="train",
        script="import torch\nprint(torch.cuda.get_device_name())",
        image="pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime",
        container_resources={"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}, "requests": {"cpu": 2}},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        timeout=3600,
    )
