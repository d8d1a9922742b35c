"""Everything that decides a Job, frozen before anything is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from airflow_script_provider.kube import syntax
from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.names import LaunchIdentity
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.logins import without_logins
from airflow_script_provider.kube.request.options import CheckedOptions
from airflow_script_provider.kube.request.payload import Payload
from airflow_script_provider.kube.request.provision import Provision
from airflow_script_provider.kube.request.sizes import check_body_size, check_files, check_script, check_size
from airflow_script_provider.script import Script


@dataclass(frozen=True)
class JobRequest:
    """Everything that decides one Job.

    ``deadline`` becomes ``activeDeadlineSeconds``. ``files`` are mounted beside the script, by
    relative path. ``may_be_marked`` says whether the Job may be patched once its outcome was read.
    ``job_patch`` is merged over our Job, before the author's overrides of the pod. ``get_logs``
    and ``max_output_bytes`` are for the Job's followers.
    """

    script: Script
    options: CheckedOptions
    namespace: str
    identity: LaunchIdentity
    interpreter: Interpreter
    payload: Payload = field(default_factory=Payload, repr=False)
    files: Mapping[str, Script] = field(default_factory=dict)
    deadline: Deadline = field(default_factory=Deadline)
    may_be_marked: bool = True
    job_patch: Mapping[str, Any] = field(default_factory=dict, repr=False)
    get_logs: bool = True
    max_output_bytes: int = DEFAULT_MAX_OUTPUT

    def __post_init__(self) -> None:
        syntax.check_dns_label(self.namespace, "namespace")
        check_script(self.script)
        self.interpreter.check_encoding(self.script)
        check_files(self.files, self.script_file)
        check_size(self.script, self.files, self.provision.tools())
        check_body_size(self.script, self.files)

    @cached_property
    def provision(self) -> Provision:
        """The requirements and packages to install before the script runs."""
        return Provision.of(self.options.install_dependencies, self.options.install_packages)

    @property
    def first_ttl(self) -> int | None:
        """Seconds to keep the finished Job while its outcome is unread; None is for ever."""
        ttl = self.options.ttl_seconds_after_finished
        return ttl if ttl is None or not self.may_be_marked else max(ttl, self.options.unread_ttl)

    @property
    def ttl_when_read(self) -> int | None:
        """Seconds to keep the Job once its outcome was read; None leaves its TTL as it is."""
        ttl = self.options.ttl_seconds_after_finished
        return ttl if ttl != self.first_ttl else None

    @property
    def is_marked_by_ttl(self) -> bool:
        """Whether the Job gets another TTL once its outcome was read."""
        return self.ttl_when_read is not None or self.options.keep_failed is not None

    @property
    def secret_variables(self) -> dict[str, str]:
        """All values of the Secret, by variable."""
        return {**self.payload.variables, **self.provision.secret_variables()}

    @property
    def texts(self) -> tuple[str, ...]:
        """The script and its files."""
        return (self.script.text, *(file.text for file in self.files.values()))

    def known_to_script(self) -> tuple[Any, ...]:
        """Everything that the script may print because the task has given it: texts, mappings."""
        return (*self.texts, self.secret_variables, self.interpreter.argv, self.options.pod_overrides)

    @property
    def script_file(self) -> str:
        """File name of the script in its folder."""
        return self.interpreter.script_file(self.script)


def request_facts(
    script: Script, files: Mapping[str, Script], options: CheckedOptions, payload: Payload, namespace: str
) -> dict[str, Any]:
    """The facts by which two requests are the same, as JSON.

    They have the names of variables, but no secret value. Each version of this package must make
    the same facts of the same arguments. Otherwise a try after an upgrade does not recognise the
    Job of the previous try.
    """
    requirements = without_logins(options.install_dependencies or ())
    return {
        "script": script.sha256,
        "files": {path: file.sha256 for path, file in files.items()},
        "namespace": namespace,
        "variables": sorted(payload.variables),
        "options": options.telling | {"install_dependencies": requirements},
    }
