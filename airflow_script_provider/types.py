"""Shapes of arguments, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

ResourceQuantities = Mapping[str, str | int | float]
"""Amounts by resource: ``{"memory": "512Mi", "cpu": "500m", "nvidia.com/gpu": 1}``."""


class ResourceClaim(TypedDict, total=False):
    """A claim of the pod that the container uses (``V1ResourceClaim``)."""

    name: str
    request: str


class ContainerResources(TypedDict, total=False):
    """What a container requests and may use at most, in the form of ``V1ResourceRequirements``."""

    requests: ResourceQuantities
    limits: ResourceQuantities
    claims: Sequence[ResourceClaim]


SourceType = Literal["inline", "local", "file", "http", "gcs", "s3"]


class ScriptTransport(TypedDict, total=False):
    """The source of a script in the Script tool's format.

    ``auth`` is the connection. ``timeout`` is in seconds.
    """

    type: SourceType
    auth: str
    region: str
    endpoint: str
    method: str
    headers: Mapping[str, str]
    timeout: float | str


class ScriptMapping(ScriptTransport, total=False):
    """A script in the Script tool's format.

    ``content`` is the text, ``uri`` a place. How it is read may be nested in ``source``.
    """

    content: str
    uri: str
    source: ScriptTransport
