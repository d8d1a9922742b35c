"""Sources of scripts: text, files, HTTP servers, S3 and Google Cloud Storage."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_script_provider.sources.base import ScriptSource
    from airflow_script_provider.sources.file import FileScript
    from airflow_script_provider.sources.gcs import GCSScript
    from airflow_script_provider.sources.http import HttpScript
    from airflow_script_provider.sources.inline import InlineScript
    from airflow_script_provider.sources.s3 import S3Script

__all__ = ["FileScript", "GCSScript", "HttpScript", "InlineScript", "S3Script", "ScriptSource"]

_MODULES = {
    "FileScript": "file",
    "GCSScript": "gcs",
    "HttpScript": "http",
    "InlineScript": "inline",
    "S3Script": "s3",
    "ScriptSource": "base",
}


def __getattr__(name: str) -> Any:
    """Import a source on first use; a file can then be read without importing Airflow."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
