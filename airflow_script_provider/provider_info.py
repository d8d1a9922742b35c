"""What Airflow's providers manager reads of this package."""

from __future__ import annotations

from typing import Any

from airflow_script_provider import __version__

_INTEGRATION = "Kubernetes scripts"
_SETTINGS = {
    "description": "How tasks that run scripts on Kubernetes are told apart and shown.",
    "options": {
        "deployment": {
            "description": (
                "A name of this Airflow that no other Airflow has which uses the same namespaces. Tries find only "
                "Jobs of the same name. It is only needed where a copy of this Airflow's database is in use "
                "elsewhere. Read by workers."
            ),
            "version_added": __version__,
            "type": "string",
            "example": "staging",
            "default": None,
        },
        "job_url": {
            "description": (
                "Where pages about Kubernetes Jobs are: the address of a task's link `Kubernetes Job`, with "
                "{namespace} and {job_name} in it. Without it tasks have no such link. Read by workers and DAG "
                "processors."
            ),
            "version_added": __version__,
            "type": "string",
            "example": "https://dashboard.example.com/#/job/{namespace}/{job_name}",
            "default": None,
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """The provider's description, valid against ``airflow/provider_info.schema.json``."""
    return {
        "package-name": "airflow-script-provider",
        "name": "Kubernetes scripts",
        "description": "Run a script as a Kubernetes Job: live log, result in XCom, why it failed in one line.",
        "versions": [__version__],
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["software"]}],
        "operators": _modules("operators", "script", "exec", "node"),
        "hooks": _modules("hooks", "script", "exec", "node"),
        "triggers": _modules("triggers", "script", "node"),
        "task-decorators": [
            {
                "name": f"kubernetes_{kind}",
                "class-name": f"airflow_script_provider.decorators.{module}.kubernetes_{kind}_task",
            }
            for module, kind in (("script", "script"), ("exec", "exec_script"), ("node", "node_script"))
        ],
        "extra-links": ["airflow_script_provider.operators.links.KubernetesJobLink"],
        "config": {"script_provider": _SETTINGS},
    }


def _modules(kind: str, *names: str) -> list[dict[str, Any]]:
    modules = [f"airflow_script_provider.{kind}.{name}" for name in names]
    return [{"integration-name": _INTEGRATION, "python-modules": modules}]
