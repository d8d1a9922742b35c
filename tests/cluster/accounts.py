"""Kubeconfigs of accounts with few rights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubectl import Kubectl

_ROLES = Path(__file__).parents[2] / "docs" / "reference" / "rbac"


def author(
    kubectl: Kubectl,
    namespace: str,
    kubeconfig: str,
    *,
    drop: str | None = None,
    drop_verb: tuple[str, str] | None = None,
    role_file: str = "job.yaml",
) -> dict[str, Any]:
    """A kubeconfig of an account with the Role of the docs, but for one resource, or one verb on a resource."""
    role = yaml.safe_load((_ROLES / role_file).read_text())
    role["rules"] = [rule for rule in role["rules"] if rule["resources"] != [drop]]
    for rule in role["rules"]:
        rule["verbs"] = [verb for verb in rule["verbs"] if drop_verb is None or drop_verb != (*rule["resources"], verb)]
    role["rules"] = [rule for rule in role["rules"] if rule["verbs"]]
    role["metadata"]["namespace"] = namespace
    kubectl.apply(role)
    kubectl("create", "serviceaccount", "author", "-n", namespace)
    kubectl("create", "rolebinding", "author", "-n", namespace, "--role", role["metadata"]["name"],
            f"--serviceaccount={namespace}:author")  # fmt: skip
    return as_user(kubeconfig, kubectl("create", "token", "author", "-n", namespace).strip())


def as_user(kubeconfig: str, token: str) -> dict[str, Any]:
    """The kubeconfig with another token."""
    return with_user(yaml.safe_load(Path(kubeconfig).read_text()), {"token": token})


def with_user(config: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """A kubeconfig whose user has other credentials."""
    return {**config, "users": [{**config["users"][0], "user": dict(user)}]}


def token_of(config: Mapping[str, Any]) -> str:
    """The token that a kubeconfig's user has."""
    return str(config["users"][0]["user"]["token"])


def written(config: dict[str, Any], folder: Path) -> str:
    """The path of a file with this kubeconfig."""
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)
