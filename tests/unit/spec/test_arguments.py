"""The operator's arguments of a whole spec."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.spec.arguments import OperatorSettings, PlaybookNames, names_of_tokens, operator_settings
from airflow_script_provider.spec.source import SourceSettings

INLINE = {"type": "inline", "content": "echo hi"}
NESTED = {"uri": "gs://b/a.py", "source": {"type": "gcs", "auth": "google"}}


def test_the_flat_form_in_the_tools_manner() -> None:
    """The flat form has the tool's namespace, names and label; the script gets ``{}``."""
    assert operator_settings({"script": INLINE}) == OperatorSettings(
        {
            "namespace": "noetl",
            "labels": {"app": "noetl-script"},
            "name": "noetl-script",
            "args": {},
            "script": SourceSettings("inline", {"text": "echo hi"}),
        },
        PlaybookNames(),
    )


def test_the_nested_form_in_the_tools_manner() -> None:
    """Jobs are named ``script-<task>``; the step gives name and documentation."""
    job = {"namespace": "etl", "backoffLimit": 0}
    step = {"step": "load", "desc": "Loads", "tool": {"script": NESTED, "args": {"n": [1]}, "job": job}}
    assert operator_settings([step]).arguments == {
        "namespace": "etl",
        "labels": {"app": "noetl-script"},
        "args": {"n": [1]},
        "task_id": "load",
        "doc_md": "Loads",
        "script": SourceSettings("gcs", {"uri": "gs://b/a.py", "conn_id": "google"}),
        "backoff_limit": 0,
    }


def test_our_own_manner() -> None:
    """``style="airflow"`` adds nothing to the spec."""
    arguments = operator_settings({"script": INLINE}, style="airflow").arguments
    assert arguments == {"script": SourceSettings("inline", {"text": "echo hi"})}


def test_overrides_go_before_the_spec() -> None:
    """Arguments replace those of the spec; labels are added to the tool's own."""
    overrides = {"args": {"n": 2}, "labels": {"team": "data"}, "retries": 2}
    arguments = operator_settings({"script": INLINE, "args": {"n": 1}}, overrides=overrides).arguments
    assert arguments["labels"] == {"app": "noetl-script", "team": "data"}
    assert (arguments["args"], arguments["retries"]) == ({"n": 2}, 2)


def test_arguments_take_the_place_of_args() -> None:
    """A script with ``arguments`` gets no JSON."""
    assert "args" not in operator_settings({"script": INLINE}, overrides={"arguments": ["-v"]}).arguments


def test_a_fragment_needs_a_script_from_elsewhere() -> None:
    """A spec without ``script`` configures a script that is an argument."""
    assert operator_settings({"job": {"timeout": 9}}, overrides={"script": "echo"}).arguments["timeout"] == 9
    with pytest.raises(ValueError, match=r"spec has no script: .* or pass script=…"):
        operator_settings({"job": {"timeout": 9}})


def test_auth_may_be_a_name_of_the_keychain() -> None:
    """The keychain gives the connection of that name."""
    keychain = [{"name": "google", "credential": "google_cloud_prod"}]
    settings = operator_settings({"keychain": keychain, "workflow": [{"tool": {"script": NESTED}}]})
    assert settings.arguments["script"].arguments["conn_id"] == "google_cloud_prod"
    assert settings.names == PlaybookNames({"google": "google_cloud_prod"})


def test_an_unknown_style() -> None:
    """The error lists both styles."""
    with pytest.raises(ValueError, match="style='argo' must be one of noetl, airflow"):
        operator_settings({"script": INLINE}, style="argo")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"env": {"T": "{{ keychain.g.token }}"}}, {"g"}),
        ({"headers": ["{{ keychain['my-aws'].session_token }}"]}, {"my-aws"}),
        ("{{ keychain.g['token'] }}", {"g"}),
        ({"env": {"K": "{{ keychain.aws.access_key }}", "P": "{{ secret.token_url }}"}, "n": 1}, set()),
    ],
)
def test_names_whose_token_is_asked_for(value: Any, names: set[str]) -> None:
    """The name is found in every template of a spec, in every spelling."""
    assert names_of_tokens(value) == names
