"""What the demo prints."""

from __future__ import annotations

import os

import pytest

from dev.demo import kubectl


@pytest.mark.parametrize(
    ("kubeconfig", "words"),
    [
        (os.path.join(os.getcwd(), ".cluster", "kubeconfig"), ".cluster/kubectl --kubeconfig .cluster/kubeconfig"),
        ("/home/me/my config", "KUBECONFIG='/home/me/my config' kubectl"),
    ],
)
def test_the_kubectl_line_can_be_pasted(kubeconfig: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the embedded cluster's own kubectl, or with the kubeconfig that was given."""
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    assert kubectl() == words
