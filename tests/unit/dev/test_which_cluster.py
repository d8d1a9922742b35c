"""Which cluster is used where ``KUBECONFIG`` says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dev.which_cluster import context_and_server, line

BY_KUBECTL = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: AAAA
    server: https://one.example:6443
  name: one
- cluster:
    server: "https://two.example"
  name: two
contexts:
- context:
    cluster: one
    user: me
  name: me@one
- context:
    cluster: two
    namespace: etl
    user: me
  name: me@two
current-context: me@two
kind: Config
users:
- name: me
  user:
    token: secret
"""
INDENTED = """\
current-context: 'dev'
contexts:
  - name: dev
    context:
      cluster: c
clusters:
  - name: c
    cluster:
      server: https://c.example
"""
IN_JSON = json.dumps(
    {
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://c.example"}}],
    }
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BY_KUBECTL, ("me@two", "https://two.example")),
        (INDENTED, ("dev", "https://c.example")),
        (IN_JSON, ("dev", "https://c.example")),
        ("", ("unknown", "unknown")),
        ("current-context: gone\n", ("gone", "unknown")),
    ],
)
def test_context_and_server_are_read(text: str, found: tuple[str, str]) -> None:
    """As kubectl and people write them, without a library."""
    assert context_and_server(text) == found


def test_the_line_names_server_context_and_file(tmp_path: Path) -> None:
    """Of several files the first with a context decides; one that is missing does not count."""
    (tmp_path / "config").write_text(BY_KUBECTL)
    kubeconfig = f"/none:{tmp_path}/config"
    assert line(kubeconfig) == f"Using the cluster https://two.example, context me@two of KUBECONFIG={kubeconfig}"


def test_a_missing_file_is_said() -> None:
    """Before anything is set up for it."""
    assert line("/none") == "KUBECONFIG=/none does not exist"
