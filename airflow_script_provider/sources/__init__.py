"""Where scripts come from."""

from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.inline import InlineScript

__all__ = ["FileScript", "InlineScript", "ScriptSource"]
