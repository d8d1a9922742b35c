"""Sources whose extra is not installed, or whose connection is not defined."""

from __future__ import annotations

import sys

import pytest

from airflow_script_provider._airflow import AirflowOptionalProviderFeatureException
from airflow_script_provider.exceptions import ScriptSourceError
from airflow_script_provider.hooks.script import KubernetesScriptHook
from airflow_script_provider.sources import GCSScript, HttpScript, S3Script, ScriptSource
from tests.servers import WebServer
from tests.unit.sources.conftest import Connect


@pytest.mark.parametrize(
    ("source", "module", "extra"),
    [
        (HttpScript("https://h/x.py", conn_id="mine"), "airflow.providers.http.hooks.http", "http"),
        (S3Script("s3://b/x.py"), "airflow.providers.amazon.aws.hooks.s3", "s3"),
        (GCSScript("gs://b/x.py"), "google.cloud.storage", "gcs"),
    ],
)
def test_a_missing_extra_is_named_with_its_pip_line(
    source: ScriptSource, module: str, extra: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing extra fails the fetch, not the DAG's parsing."""
    connect("mine", conn_type="http")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(AirflowOptionalProviderFeatureException) as missing:
        source.fetch()
    assert str(missing.value).endswith(f"pip install 'airflow-script-provider[{extra}]'")


def test_an_empty_script_is_none(web: WebServer) -> None:
    """The error names an empty script's source; a file may be empty."""
    uri = web.answers("/x.py", b"\xef\xbb\xbf \n")
    assert HttpScript(uri).fetch().text == " \n"
    with pytest.raises(ValueError, match=r"script is empty \(http://127"):
        KubernetesScriptHook(None, config_file="/none").prepare(uri)


@pytest.mark.parametrize("uri", ["https://h/x.py", "s3://b/x.py", "gs://b/x.py"])
def test_the_hook_reads_with_the_connection(uri: str) -> None:
    """``script_conn_id`` reaches the source of a URI."""
    with pytest.raises(ScriptSourceError, match="connection 'nobody' is not defined"):
        KubernetesScriptHook(None, config_file="/none").prepare(uri, script_conn_id="nobody")
