"""A launched Job, as facts small enough for a trigger's row: names, bounds and digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.job.verdict import Limits
from airflow_script_provider.kube.labels import SCRIPT_VOLUME
from airflow_script_provider.kube.logs.output import DEFAULT_MAX_OUTPUT
from airflow_script_provider.kube.logs.value import storable
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.script import ScriptFacts

DEFAULT_GRACE_PERIOD = 30
"""Kubernetes' own terminationGracePeriodSeconds."""

_LEFT_OUT = ("check_digits", "holds_lines", "held_by_script")
"""Entries that a row lacks where they are empty."""


@dataclass(frozen=True)
class JobRef:
    """One Job: with the uid it is distinguished from others of its name."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobRef:
        """A Job as the API server has it."""
        metadata = job["metadata"]
        return cls(metadata["namespace"], metadata["name"], metadata["uid"])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class LaunchedJob:
    """What following a Job and concluding its outcome need of the request that it came from.

    ``launched_at`` is the time of day in seconds since 1970. ``secret_name`` is None where there
    is no Secret to remove. ``mark`` ends the last line of an installation in the script's own
    container, None if there is none. ``ttl_when_read`` is the Job's TTL once its outcome was read,
    None if the TTL stays; without ``may_be_marked`` nothing is changed then. ``keep_failed`` is
    that of a failed run, None for the same one. ``files`` is the
    result's entry. ``check_digits`` are those of the values of ``env`` and ``args``, see
    ``hiding.check_digits``; empty where there are none or where they are unknown. ``holds_lines``
    says that the script knows secrets that only a worker can mask: a trigger shows none of its
    lines. ``held_by_script`` says that one of them is in the script or its files.
    """

    ref: JobRef
    launched_at: float
    limits: Limits
    script: ScriptFacts
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    image: str = ""
    program: str = ""
    config_map_name: str = ""
    secret_name: str | None = None
    mark: str | None = None
    skip_codes: frozenset[int] = frozenset()
    get_logs: bool = True
    max_output_bytes: int = DEFAULT_MAX_OUTPUT
    ttl_when_read: int | None = None
    keep_failed: int | None = None
    may_be_marked: bool = True
    check_digits: str = ""
    holds_lines: bool = False
    held_by_script: bool = False

    @classmethod
    def of(cls, request: JobRequest, ref: JobRef, launched_at: float) -> LaunchedJob:
        """The Job that was launched of a request, at a time of day."""
        return cls(
            ref,
            launched_at,
            limits_of(request),
            request.script.facts,
            storable(provenance.of_files(request.files)).value,
            image=request.options.image,
            program=request.interpreter.argv[0],
            config_map_name=request.identity.config_map_name,
            secret_name=request.identity.secret_name if request.secret_variables else None,
            mark=request.identity.launch_id if request.provision.packages else None,
            skip_codes=request.options.skip_codes,
            get_logs=request.get_logs,
            max_output_bytes=request.max_output_bytes,
            ttl_when_read=request.ttl_when_read,
            keep_failed=request.options.keep_failed,
            may_be_marked=request.may_be_marked,
        )

    @classmethod
    def before_launch(cls, request: JobRequest, launched_at: float) -> LaunchedJob:
        """The Job that a launch is about to create, as yet without a uid.

        Whatever is wrong with the request raises here, before anything exists.
        """
        return cls.of(request, JobRef(request.namespace, request.identity.job_name, ""), launched_at)

    @property
    def own_objects(self) -> tuple[str, ...]:
        """What a pod may wait for while the launch still creates it, as events name it."""
        names = [name for name in (self.config_map_name, self.secret_name) if name]
        return (*names, f'volume "{SCRIPT_VOLUME}"')

    def final_ttl(self, *, is_failed: bool) -> int | None:
        """Seconds to keep the Job once its outcome was read; None leaves its TTL as it is."""
        return self.keep_failed if is_failed and self.keep_failed is not None else self.ttl_when_read

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        limits = asdict(self.limits) | {"final_codes": sorted(self.limits.final_codes)}
        facts = {name: fact for name, fact in asdict(self).items() if name not in _LEFT_OUT or fact}
        return facts | {"limits": limits, "skip_codes": sorted(self.skip_codes)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> LaunchedJob:
        """From ``to_dict``; what a newer version has added is left out.

        Raises ``ValueError`` if an entry is missing.
        """
        try:
            limits = given["limits"] | {"final_codes": frozenset(given["limits"]["final_codes"])}
            objects = {
                "ref": JobRef(**_known(JobRef, given["ref"])),
                "limits": Limits(**_known(Limits, limits)),
                "script": ScriptFacts(**_known(ScriptFacts, given["script"])),
                "skip_codes": frozenset(given["skip_codes"]),
            }
        except KeyError as missing:
            raise ValueError(f"the stored Job has no {missing}") from None
        return cls(**_known(cls, given) | objects)


def limits_of(request: JobRequest) -> Limits:
    """The bounds of the request's run."""
    options = request.options
    is_of_earlier_version = request.deadline == Deadline(options.timeout)  # then Kubernetes ends the work
    return Limits(
        startup_timeout=options.startup_timeout,
        schedule_timeout=options.schedule_timeout,
        timeout=None if is_of_earlier_version else options.timeout,
        deadline=request.deadline.seconds,
        deadline_name=request.deadline.argument,
        # As merged: pod_overrides may set another one, or with None Kubernetes' own.
        grace_period=manifest.pod_template(request)["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_PERIOD),
        backoff_limit=options.backoff_limit,
        final_codes=options.final_codes,
    )


def _known(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    names = {known.name for known in fields(kind)}
    return {name: value for name, value in given.items() if name in names}
