"""The choice of an executor and of a namespace."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from airflow_script_provider.exceptions import TargetError
from airflow_script_provider.spec.choice import candidates, first_available, namespace


@pytest.mark.parametrize(
    ("executor", "allowed", "options", "expected"),
    [
        (None, None, (), ("local", "container", "kubernetes")),
        (None, ["container", "local"], (), ("container", "local")),
        ("local", ["container", "local"], (), ("local",)),
        ("job", None, (), ("job",)),
        (None, None, ("--deployment",), ("kubernetes",)),
        (None, ["container", "local", "kubernetes"], ("--namespace",), ("kubernetes",)),
        (None, None, ("--image",), ("container",)),
        (None, None, ("--tty",), ("local", "container", "kubernetes")),
        ("kubernetes", None, ("--namespace", "--deployment", "--tty"), ("kubernetes",)),
        (None, None, ("--timeout",), ("local", "container", "kubernetes")),
    ],
)
def test_candidates(
    executor: str | None, allowed: list[str] | None, options: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """The order is the task's or the default; ``-x`` and options leave fewer."""
    assert candidates(executor, allowed, options) == expected


@pytest.mark.parametrize(
    ("executor", "allowed", "options", "words"),
    [
        (
            "kubernetes",
            ["container", "local"],
            (),
            "does not allow the executor 'kubernetes'; it allows container",
        ),
        ("moon", None, (), "unknown executor 'moon'; known executors: local, container, kubernetes, job"),
        ("local", None, ("--deployment",), "--deployment only works with kubernetes; this run may use local"),
        ("job", None, ("--tty",), "--tty only works with local, container, kubernetes; this run may use job"),
        (None, ["local"], ("--image",), "--image only works with container, job; this run may use local"),
    ],
)
def test_no_candidate(executor: str | None, allowed: list[str] | None, options: tuple[str, ...], words: str) -> None:
    """The error lists what is possible."""
    with pytest.raises(ValueError, match=words):
        candidates(executor, allowed, options)


def test_the_first_available_one_runs() -> None:
    """The first available executor runs; those after it are not checked."""
    asked: list[str] = []

    def why_unavailable(name: str) -> str | None:
        asked.append(name)
        return "no engine" if name == "container" else None

    assert first_available(("container", "local", "kubernetes"), why_unavailable) == "local"
    assert asked == ["container", "local"]


def test_the_only_one_says_why_it_is_not_available() -> None:
    """The error gives the reason of the chosen executor."""
    with pytest.raises(TargetError, match=r"^the executor 'container' is not available: no engine$"):
        first_available(("container",), lambda name: "no engine")


def test_each_says_why_it_is_not_available() -> None:
    """The error gives the reason of each executor."""
    with pytest.raises(TargetError, match="container: none of container; local: none of local"):
        first_available(("container", "local"), lambda name: f"none of {name}")


@pytest.mark.parametrize(
    ("flag", "environ", "in_file", "of_context", "expected"),
    [
        ("flag", {"K8S_NAMESPACE": "environment"}, "file", "context", "flag"),
        (None, {"K8S_NAMESPACE": "environment"}, "file", "context", "environment"),
        (None, {"K8S_NAMESPACE": ""}, "file", "context", "file"),
        (None, {}, None, "context", "context"),
        (None, {}, None, None, "default"),
    ],
)
def test_namespace(
    flag: str | None, environ: Mapping[str, str], in_file: str | None, of_context: str | None, expected: str
) -> None:
    """The first of flag, ``K8S_NAMESPACE``, file, context and ``default`` that is set."""
    assert namespace(flag, environ, in_file, lambda: of_context) == expected
