"""Kubeconfigs as plain data: read, merged and chosen from as kubectl does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.clusters.kubeconfig import Entry, Kubeconfig, choose, current_context, parsed


def a_config(name: str, server: str | None = None, context: str | None = "a", **user: Any) -> Kubeconfig:
    """A kubeconfig in the folder of its name, with what it gives of cluster, context and user ``a``."""
    content: dict[str, Any] = {"current-context": context}
    if server:
        content["clusters"] = [{"name": "a", "cluster": {"server": server}}]
        content["contexts"] = [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "etl"}}]
    if user:
        content["users"] = [{"name": "a", "user": user}]
    return Kubeconfig(name, Path("/", name), content)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("current-context: a\nusers: []", {"current-context": "a", "users": []}),
        ('{"current-context": "a"}', {"current-context": "a"}),
        ('{\n\t"current-context": "a"\n}', {"current-context": "a"}),
        ("", {}),
        ("# nothing yet", {}),
    ],
    ids=["YAML", "JSON", "JSON with tabs, which is not YAML", "empty", "only a comment"],
)
def test_yaml_and_json_are_read(text: str, content: dict[str, Any]) -> None:
    """A kubeconfig is YAML or JSON (R40)."""
    assert parsed(text, "config") == content


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("users:\n- user: {token: hunter2: x}", "config is not valid YAML: line 2, column 24"),
        ('{"token": "hunter2"', "config is not valid JSON: line 1, column 20"),
        ("[hunter2]", "config is not a mapping"),
        ("hunter2", "config is not a mapping"),
    ],
)
def test_what_cannot_be_read_is_not_quoted(text: str, words: str) -> None:
    """File and position, never what stands there (R26, R40)."""
    with pytest.raises(ValueError, match=words) as caught:
        parsed(text, "config")
    assert "hunter2" not in str(caught.value)


def test_the_first_entry_of_a_name_decides() -> None:
    """Of several kubeconfigs, each entry is the first one's as a whole, and so is the current context (R40)."""
    none = Kubeconfig("none", Path("/none"), {"current-context": "", "users": None})
    chosen = choose(
        [none, a_config("first", "https://first"), a_config("second", "https://second", "b", token="t")], None
    )
    assert (chosen.cluster.text("server"), chosen.cluster.folder) == ("https://first", Path("/first"))
    assert (chosen.user.text("token"), chosen.user.folder) == ("t", Path("/second"))
    assert chosen.namespace == "etl"
    assert current_context([none]) is None


def test_a_context_without_a_user() -> None:
    """It is anonymous: a proxy signs in, or the server asks for nothing (R40)."""
    config = a_config("file", "https://a")
    config.content["contexts"][0]["context"].pop("user")
    assert choose([config], None).user.fields == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "file has no current-context"),
        ({"current-context": "a"}, "file has no context named 'a'"),
        ({"current-context": "a", "contexts": "hunter2"}, "contexts of file is not a list of mappings"),
        ({"current-context": "a", "contexts": ["hunter2"]}, "contexts of file is not a list of mappings"),
        ({"current-context": {"hunter2": 1}}, "current-context of file is not a text"),
        ({"current-context": "a", "contexts": [{"name": "a", "context": "hunter2"}]}, "context of context 'a' is not"),
        ({"current-context": "a", "contexts": [{"name": "a"}]}, "context 'a' of file names no cluster"),
        ({"current-context": "a", "contexts": [{"name": "a"}, {"name": "a"}]}, "file has two contexts named 'a'"),
        (
            {"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c"}}]},
            "file has no cluster named 'c'",
        ),
        (
            {"current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}]},
            "file has no user named 'u'",
        ),
    ],
)
def test_what_is_missing_is_named(content: dict[str, Any], words: str) -> None:
    """Which entry of which file, and nothing that stands in it."""
    with pytest.raises(ValueError, match=words) as caught:
        choose([Kubeconfig("file", Path("/file"), content)], None)
    assert "hunter2" not in str(caught.value)


def test_what_yaml_takes_for_another_type_is_a_text() -> None:
    """``token: 12345`` and ``namespace: on`` are texts for kubectl."""
    entry = Entry("user 'a'", {"token": 12345, "a": True, "none": None, "flag": "true"}, Path("/"))
    assert [entry.text(name) for name in ("token", "a", "none", "missing")] == ["12345", "true", "", ""]
    assert entry.flag("flag")


def test_data_wins_over_a_file(tmp_path: Path) -> None:
    """``client-key-data`` is base64, perhaps in lines; ``client-key`` is relative to the kubeconfig."""
    (tmp_path / "key").write_bytes(b"from the file")
    encoded = base64.b64encode(b"from the data").decode()
    fields = {"client-key": "key", "client-key-data": f"{encoded[:8]}\n{encoded[8:]}"}
    assert Entry("user 'a'", fields, tmp_path).data("client-key") == b"from the data"
    assert Entry("user 'a'", {"client-key": "key"}, tmp_path).data("client-key") == b"from the file"
    with pytest.raises(ValueError, match=r"client-key-data of user 'a' is not valid base64$"):
        Entry("user 'a'", {"client-key-data": "hunter2!"}, tmp_path).data("client-key")
