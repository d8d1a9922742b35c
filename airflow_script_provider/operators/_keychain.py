"""``workload``, ``keychain`` and ``secret`` in the templates of a spec.

They are the run's values and Airflow's connections. Every value that comes from a connection or
variable is masked in the task's log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_script_provider._airflow import AirflowNotFoundException, find_connection, find_variable, mask_values
from airflow_script_provider.exceptions import ScriptProviderError
from airflow_script_provider.kube.hiding import values_in
from airflow_script_provider.kube.hiding.logins import without_logins
from airflow_script_provider.operators import _cloud_tokens
from airflow_script_provider.spec.arguments import PlaybookNames
from airflow_script_provider.spec.settings import has_template

if TYPE_CHECKING:
    from airflow.sdk import Connection

# What the Script tool's credentials call the parts of a connection.
_ATTRIBUTES = {
    "login": ("login", "user", "username", "db_user", "client_id", "access_key", "access_key_id",
              "aws_access_key_id"),
    "password": ("password", "db_password", "client_secret", "secret", "secret_key", "secret_access_key",
                 "aws_secret_access_key", "api_key", "access_token", "token"),
    "host": ("host", "hostname", "db_host"),
    "port": ("port", "db_port"),
    "schema": ("schema", "database", "db_name", "dbname"),
}  # fmt: skip
_ATTRIBUTE_OF = {alias: attribute for attribute, aliases in _ATTRIBUTES.items() for alias in aliases}
_EXTRA_OF = {"service_account_json": ("keyfile_dict", "extra__google_cloud_platform__keyfile_dict")}
_HARMLESS = ("host", "port", "schema")


def template_names(context: Mapping[str, Any], names: PlaybookNames) -> dict[str, Any]:
    """The context with the spec's names in it.

    As in the Script tool, the names within ``workload`` and ``keychain`` can also be written
    alone. If Airflow has the same name, Airflow's is meant.
    """
    workload = workload_of(context, names.workload)
    keychain = Keychain(names, workload)
    secrets = Secrets()
    alone = {name: keychain[name] for name in names.keychain} | workload
    ours = {"workload": PlaybookWorkload(workload), "keychain": keychain, "secret": secrets, "secrets": secrets}
    return alone | dict(context) | ours


def workload_of(context: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run: its conf, then the DAG's params, then the spec's own ``workload``."""
    conf = getattr(context.get("dag_run"), "conf", None)
    return {**defaults, **dict(context.get("params") or {}), **(conf or {})}


class PlaybookWorkload:
    """The run's values by name.

    It is not a mapping: a mapping's methods would hide values of the same names. A missing value
    is named when it is used, so that ``default(…)`` works.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        known = ", ".join(sorted(self._values)) or "nothing"
        return _undefined(f"workload.{name} stands neither in the run's conf and params nor in the spec; has {known}")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)


class Keychain:
    """Credentials by name. A connection's id may be a template of the workload."""

    def __init__(self, names: PlaybookNames, workload: Mapping[str, Any]) -> None:
        self._names = names
        self._workload = workload
        self._credentials: dict[str, Credential] = {}

    def __getitem__(self, name: str) -> Credential:
        if name not in self._credentials:
            conn_id = _rendered(self._names.keychain.get(name, name), self._workload)
            self._credentials[name] = Credential(name, conn_id, short_lived=name in self._names.short_lived)
        return self._credentials[name]


class Credential:
    """The fields of one connection.

    With ``short_lived``, all fields of an AWS connection come from one set of credentials. A
    session token does not work with another set's keys.
    """

    def __init__(self, name: str, conn_id: str, *, short_lived: bool = False) -> None:
        self._name = name
        self._conn_id = conn_id
        self._short_lived = short_lived
        self._minted: dict[str, str] | None = None

    def __getitem__(self, field: str) -> Any:
        connection = self._connection(field)
        value = self._of_cloud(connection, field)
        if value is None:
            value = _field(connection, field)
        if value is None:
            known = ", ".join(_fields_of(connection)) or "none"
            return _undefined(f"keychain.{self._name}.{field}: {self._conn_id!r} has no such field; it has {known}")
        return value if field in _HARMLESS else _masked(value)

    def _connection(self, field: str) -> Connection:
        try:
            connection = find_connection(self._conn_id, None)
        except AirflowNotFoundException:
            connection = None
        if connection is None:
            raise ValueError(
                f"keychain.{self._name}.{field}: the connection {self._conn_id!r} does not exist; create it, or name "
                f"another one: keychain: [{{name: {self._name}, credential: …}}]"
            )
        return connection

    def _of_cloud(self, connection: Connection, field: str) -> str | None:
        """The field of short-lived credentials.

        None unless the connection is a cloud's and the spec asks for its token.
        """
        mint = _MINTS.get(connection.conn_type or "")
        if mint is None or not (self._short_lived or field in _cloud_tokens.TOKENS):
            return None
        if self._minted is None:
            self._minted = self._mint(mint, connection, field)
        return self._minted.get(field)

    def _mint(self, mint: Callable[[Any], dict[str, str]], connection: Connection, field: str) -> dict[str, str]:
        try:
            return mint(connection)
        except Exception as error:
            is_the_clouds = type(error).__module__.startswith(("google.auth", "botocore"))
            if not is_the_clouds and not isinstance(error, ValueError | OSError):
                raise
            why = without_logins(f"{type(error).__name__}: {error}")  # boto3 names its endpoint
            raise ScriptProviderError(
                f"keychain.{self._name}.{field}: {self._conn_id!r} gives no token: {why}"
            ) from None


class Secrets:
    """Single values by name: a variable, or a connection's password (its URI if it has a host)."""

    def __getitem__(self, name: str) -> str:
        value = find_variable(name)
        if value is None:
            value = _connection_as_secret(name)
        if value is None:
            raise ValueError(
                f"secret.{name}: there is neither a variable nor a connection {name!r}; create one of them"
            )
        return str(_masked(value))


_MINTS: dict[str, Callable[[Any], dict[str, str]]] = {
    "google_cloud_platform": _cloud_tokens.google,
    "aws": _cloud_tokens.aws,
}


def _connection_as_secret(name: str) -> str | None:
    try:
        connection = find_connection(name, None)
    except AirflowNotFoundException:
        return None
    if connection is None:
        return None
    uri: str = connection.get_uri()
    return uri if connection.host or not connection.password else connection.password


def _field(connection: Connection, field: str) -> Any:
    """A field by its name in the extra, otherwise by the Script tool's name for it."""
    extra = connection.extra_dejson
    for name in (field, *_EXTRA_OF.get(field, ())):
        if extra.get(name) is not None:
            return _as_mapping(extra[name])
    if field == "uri":
        return connection.get_uri()
    attribute = _ATTRIBUTE_OF.get(field)
    return getattr(connection, attribute) if attribute else None


def _as_mapping(value: Any) -> Any:
    """A keyfile is kept as JSON text; templates write it with ``tojson``."""
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _fields_of(connection: Connection) -> list[str]:
    return [*(name for name in _ATTRIBUTES if getattr(connection, name)), *connection.extra_dejson]


def _masked(value: Any) -> Any:
    mask_values([*values_in(value)])
    return value


def _rendered(conn_id: str, workload: Mapping[str, Any]) -> str:
    """The connection id of a template such as ``{{ workload.cred }}``."""
    if not has_template(conn_id):
        return conn_id
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    names = {**workload, "workload": PlaybookWorkload(workload)}
    return SandboxedEnvironment(undefined=StrictUndefined).from_string(conn_id).render(names)


def _undefined(message: str) -> Any:
    """Jinja's object for a missing value: using it raises an error with this message."""
    from jinja2 import StrictUndefined

    return StrictUndefined(message)
