"""Where the versions of Airflow keep what the tests use of its inside."""

from __future__ import annotations

from typing import Any

import airflow.sdk
import airflow.serialization.serialized_objects as _serialized_objects

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]  # the types are those of 3.3

__all__ = ["HAS_RETRY_POLICIES", "DagBag", "DagSerialization"]

HAS_RETRY_POLICIES = hasattr(airflow.sdk, "RetryPolicy")
"""From Airflow 3.3 on."""

_objects: Any = _serialized_objects
DagSerialization = _objects.DagSerialization if hasattr(_objects, "DagSerialization") else _objects.SerializedDAG
"""What makes a DAG storable; in Airflow 3.1 it has the second name."""
