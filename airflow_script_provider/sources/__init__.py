"""Where scripts come from."""

from airflow_script_provider.sources.base import ScriptSource
from airflow_script_provider.sources.file import FileScript
from airflow_script_provider.sources.gcs import GCSScript
from airflow_script_provider.sources.http import HttpScript
from airflow_script_provider.sources.inline import InlineScript
from airflow_script_provider.sources.s3 import S3Script

__all__ = ["FileScript", "GCSScript", "HttpScript", "InlineScript", "S3Script", "ScriptSource"]
