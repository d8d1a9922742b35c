"""The operator that a spec makes."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from airflow_script_provider.operators import _fields
from airflow_script_provider.operators.script import KubernetesScriptOperator

_SIGNATURE = inspect.signature(KubernetesScriptOperator.__init__).parameters
_DEFAULTS = {name: argument.default for name, argument in _SIGNATURE.items() if name not in ("self", "kwargs")}
IN_THE_TOOLS_MANNER = {"namespace": "noetl", "labels": {"app": "noetl-script"}}
"""The Script tool's defaults. The flat form also names its Jobs ``noetl-script``."""


def made_of(spec: str, **others: Any) -> dict[str, Any]:
    """The operator's arguments at run time that differ from the defaults."""
    operator = KubernetesScriptOperator.from_spec(spec=spec, **others)
    context: Any = {"params": {}}
    operator.render_template_fields(context)
    names = {**_DEFAULTS, "task_id": None, "doc_md": None}
    values = {name: _fields.reveal(getattr(operator, name)) for name in names}
    return {name: value for name, value in values.items() if value != names[name]}


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections and variables in the examples' templates."""
    keyfile = {"type": "service_account", "project_id": "p"}
    connections = {
        "PARTNER": {"conn_type": "http", "password": "partner-token"},
        "AWS_KEYS": {"conn_type": "aws", "login": "AKIA-KEY", "password": "aws-secret-key"},
        "GOOGLE_KEY": {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": json.dumps(keyfile)}},
        "TRACKER": {"conn_type": "http", "password": "tracker-key"},
        "CRM": {"conn_type": "postgres", "host": "crm.example", "login": "etl", "password": "crm-pw", "schema": "crm"},
    }
    for name, connection in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    variables = {"DB_URL": "postgresql://db/etl", "DB_HOST": "db.example", "DB_USER": "etl", "DB_PASSWORD": "db-pw",
                 "API_TOKEN": "api-token"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"AIRFLOW_VAR_{name}", value)
