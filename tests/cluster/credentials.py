"""The forms in which a cluster is named, all of them for one account of one server; the usual places name another."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.accounts import token_of, with_user, written
from tests.faulty_api import FaultyApi
from tests.servers import WebServer

CONN_ID = "the_cluster"


@dataclass(frozen=True)
class Plugin:
    """A program that a kubeconfig asks for credentials."""

    folder: Path

    @classmethod
    def that_gives(cls, token: str, folder: Path) -> Plugin:
        """One that gives this token."""
        plugin = cls(folder)
        (folder / "calls").touch()
        plugin._written("plugin", f"#!/bin/sh\necho call >> {folder}/calls\n. {folder}/answer\n", 0o755)
        plugin.gives(token)
        return plugin

    @property
    def user(self) -> dict[str, Any]:
        """The user of a kubeconfig."""
        command = {"command": str(self.folder / "plugin"), "args": ["get-token", "--key=argument-secret"]}
        return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **command, "interactiveMode": "Never"}}

    def asking_for_its_cluster(self) -> dict[str, Any]:
        """The same by a relative command, which fails unless it is told the server's address."""
        asks = 'case "$KUBERNETES_EXEC_INFO" in *\'"cluster": {"server": "http\'*) ;; *) exit 1;; esac'
        self.does(f"{asks}\n{(self.folder / 'answer').read_text()}")
        return {"exec": self.user["exec"] | {"command": "./plugin", "provideClusterInfo": True}}

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len((self.folder / "calls").read_text().splitlines())

    def gives(self, token: str) -> None:
        """Give this token from now on."""
        kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
        self.does(f"echo '{json.dumps(kind | {'status': {'token': token}})}'")

    def does(self, shell: str) -> None:
        """Do this from now on."""
        self._written("answer", shell, 0o644)

    def _written(self, name: str, text: str, mode: int) -> None:
        """Replaced as a whole: it may be read at this moment."""
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.chmod(mode)
        new.replace(self.folder / name)


@dataclass(frozen=True)
class Place:
    """A server behind a proxy, a kubeconfig of an account there, and where to put what names it.

    ``elsewhere`` is another server, which nobody must ask.
    """

    api: FaultyApi
    elsewhere: WebServer
    config: dict[str, Any]
    folder: Path
    environment: pytest.MonkeyPatch

    @property
    def token(self) -> str:
        """The account's."""
        return token_of(self.config)

    @property
    def server(self) -> str:
        """Its address."""
        return str(self.config["clusters"][0]["cluster"]["server"])

    def connection(self, **extra: Any) -> dict[str, Any]:
        """The arguments for a connection with these fields."""
        definition = json.dumps({"conn_type": "kubernetes", "extra": extra})
        self.environment.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", definition)
        return {"kubernetes_conn_id": CONN_ID}

    def file(self, user: Mapping[str, Any] | None = None) -> str:
        """Path of the kubeconfig, perhaps with another way to name the user."""
        return written(self.config if user is None else with_user(self.config, user), self.folder)

    def plugin(self) -> Plugin:
        """A plugin that gives the account's token."""
        return Plugin.that_gives(self.token, self.folder)

    def config_of_elsewhere(self) -> dict[str, Any]:
        """A kubeconfig of the other server."""
        clusters = [{"name": "elsewhere", "cluster": {"server": self.elsewhere.url}}]
        users = [{"name": "stranger", "user": {"token": "stranger"}}]
        contexts = [{"name": "elsewhere", "context": {"cluster": "elsewhere", "user": "stranger"}}]
        named = {"clusters": clusters, "users": users, "contexts": contexts, "current-context": "elsewhere"}
        return {"apiVersion": "v1", "kind": "Config", **named}


def _both(place: Place) -> str:
    """The path of a kubeconfig whose own context is the other server's."""
    other = place.config_of_elsewhere()
    lists = {name: [*other[name], *place.config[name]] for name in ("clusters", "users", "contexts")}
    return written(other | lists, place.folder)


def _context(place: Place) -> str:
    return str(place.config["current-context"])


def _token_file(place: Place) -> dict[str, Any]:
    (place.folder / "token").write_text(place.token + "\n")
    return {"config_file": place.file({"tokenFile": str(place.folder / "token")})}


def _several_files(place: Place) -> dict[str, Any]:
    """As kubectl reads it: what several files say is the first one's word, ``current-context`` too."""
    names = ("missing", "first", "second")
    first = {name: value for name, value in place.config.items() if name != "users"}
    (place.folder / "first").write_text(yaml.safe_dump(first))
    other = place.config_of_elsewhere()
    second = other | {"users": [*other["users"], *place.config["users"]]}
    (place.folder / "second").write_text(yaml.safe_dump(second))
    place.environment.setenv("KUBECONFIG", os.pathsep.join(str(place.folder / name) for name in names))
    return {}


FORMS: Mapping[str, Callable[[Place], dict[str, Any]]] = {
    "path": lambda place: {"config_file": place.file()},
    "path in the connection": lambda place: place.connection(kube_config_path=place.file()),
    "text in the connection": lambda place: place.connection(kube_config=json.dumps(place.config)),
    "YAML text in the connection": lambda place: place.connection(kube_config=yaml.safe_dump(place.config)),
    "mapping in the connection": lambda place: place.connection(kube_config=place.config),
    "another context": lambda place: {"config_file": _both(place), "cluster_context": _context(place)},
    "another context in the connection": lambda place: place.connection(
        kube_config_path=_both(place), cluster_context=_context(place)
    ),
    "plugin": lambda place: {"config_file": place.file(place.plugin().user)},
    "plugin in the connection": lambda place: place.connection(
        kube_config=with_user(place.config, place.plugin().user)
    ),
    "plugin beside the kubeconfig that asks for its cluster": lambda place: {
        "config_file": place.file(place.plugin().asking_for_its_cluster())
    },
    "token in a file": _token_file,
    "several files in KUBECONFIG": _several_files,
}
"""The operator's arguments for each form."""
