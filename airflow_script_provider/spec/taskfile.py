"""Read a task file: tasks, their executors, and flavors that patch the file for a stage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_keys, did_you_mean
from airflow_script_provider.spec.choice import EXECUTORS
from airflow_script_provider.spec.settings import a_list, a_mapping

FILE_NAMES = ("airflow-script.yaml", "airflow-script.yml")
"""Names of a task file that is found without ``-f``."""

FILE_KEYS = ("tasks", "kubernetes", "components", "flavors")
TASK_KEYS = (
    "script", "description", "executor", "executors", "component", "args", "arguments", "env", "working_dir",
    "interpreter", "interactive", "image", "timeout", "files",
)  # fmt: skip
KUBERNETES_KEYS = ("namespace", "context")
COMPONENT_KEYS = ("kubernetes", "container")
KUBERNETES_COMPONENT_KEYS = ("deployment", "container")
COMPOSE_COMPONENT_KEYS = ("service", "project")
FLAVOR_KEYS = ("description", "patch")

# $${env:…} is the text ${env:…} itself.
_REFERENCE = re.compile(r"\$(?P<escape>\$)?\{env:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True)
class Component:
    """The names of a part of an application in Kubernetes and in Docker Compose."""

    deployment: str
    container: str | None
    service: str
    project: str | None


@dataclass(frozen=True)
class TaskSettings:
    """One task, with all variables substituted. A setting that the file lacks is None."""

    name: str
    script: Any
    executors: tuple[str, ...] | None = None
    component: Component | None = None
    args: Any = None
    arguments: list[Any] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)
    working_dir: str | None = None
    interpreter: list[str] | None = None
    interactive: bool = False
    image: str | None = None
    timeout: Any = None
    namespace: str | None = None
    context: str | None = None


def is_task_file(document: Any) -> bool:
    """Whether the document is a task file, not a step of the Script tool."""
    return isinstance(document, Mapping) and "tasks" in document


def task_names(document: Any) -> list[str]:
    """The names of a task file's tasks."""
    return list(_by_name(a_mapping(document, "task file").get("tasks"), "tasks"))


def read_task(
    document: Any, name: str | None, environ: Mapping[str, str], *, flavor: str | None = None
) -> TaskSettings:
    """The task of this name, or the only one. ``ValueError`` names the bad key.

    ``${env:NAME}`` is looked up in ``environ``, after the flavor's patch, and only in the parts of
    the file that this task uses.
    """
    file = _patched(a_mapping(document, "task file"), flavor)
    check_keys(file, FILE_KEYS, "task file")
    name = _chosen(task_names(file), name)
    task = a_mapping(_substituted(_by_name(file["tasks"], "tasks")[name], environ, f"tasks.{name}"), f"tasks.{name}")
    check_keys(task, TASK_KEYS, f"tasks.{name}")
    kubernetes = a_mapping(_substituted(file.get("kubernetes"), environ, "kubernetes"), "kubernetes")
    check_keys(kubernetes, KUBERNETES_KEYS, "kubernetes")
    if not task.get("script"):
        raise ValueError(f"tasks.{name} has no script")
    unchecked = ("script", "args", "timeout")
    return TaskSettings(
        name=name,
        executors=_executors(task, f"tasks.{name}"),
        component=_component(file.get("components"), task.get("component"), environ, f"tasks.{name}"),
        env=_env(task.get("env"), f"tasks.{name}.env"),
        files=a_mapping(task.get("files"), f"tasks.{name}.files"),
        arguments=_list_or_none(task.get("arguments"), f"tasks.{name}.arguments"),
        interpreter=_words(task.get("interpreter"), f"tasks.{name}.interpreter"),
        working_dir=_text(task.get("working_dir"), f"tasks.{name}.working_dir"),
        image=_text(task.get("image"), f"tasks.{name}.image"),
        interactive=_flag(task.get("interactive"), f"tasks.{name}.interactive"),
        namespace=_text(kubernetes.get("namespace"), "kubernetes.namespace"),
        context=_text(kubernetes.get("context"), "kubernetes.context"),
        **{key: task.get(key) for key in unchecked},
    )


def _patched(file: Mapping[str, Any], flavor: str | None) -> Mapping[str, Any]:
    """The file with a flavor's patch. The patch may add to sections that the file lacks."""
    if flavor is None:
        return file
    flavors = a_mapping(file.get("flavors"), "flavors")
    if flavor not in flavors:
        known = ", ".join(map(str, flavors)) or "none"
        raise ValueError(f"the task file has no flavor {flavor!r}{did_you_mean(flavor, flavors)}; flavors: {known}")
    where = f"flavors.{flavor}"
    settings = a_mapping(flavors[flavor], where)
    check_keys(settings, FLAVOR_KEYS, where)
    sections: dict[str, Any] = {"kubernetes": {}, "components": {}}
    given = {key: value for key, value in file.items() if value is not None}
    return _apply(sections | given, a_list(settings.get("patch"), f"{where}.patch"), where)


def _apply(file: Mapping[str, Any], patch: list[Any], where: str) -> Mapping[str, Any]:
    try:
        import jsonpatch
    except ImportError:
        raise ValueError("--flavor needs jsonpatch: pip install 'airflow-script-provider[cli]'") from None
    try:
        patched: Mapping[str, Any] = jsonpatch.apply_patch(dict(file), patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as error:
        # Some of jsonpatch's messages contain the whole document with its values.
        message, found, _ = str(error).partition(" not found in {")
        raise ValueError(f"{where}.patch cannot be applied: {message}{' not found' if found else ''}") from None
    return patched


def _chosen(names: list[str], name: str | None) -> str:
    known = ", ".join(names) or "none"
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise ValueError(f"no task is named; the task file has {known}")
    if name not in names:
        raise ValueError(f"the task file has no task {name!r}{did_you_mean(name, names)}; tasks: {known}")
    return name


def _substituted(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """The value with each ``${env:NAME:-default}`` replaced, in every string at every level."""
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _looked_up(match, environ, where), value)
    if isinstance(value, Mapping):
        return {key: _substituted(item, environ, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, environ, f"{where}[{index}]") for index, item in enumerate(value)]
    return value


def _looked_up(match: re.Match[str], environ: Mapping[str, str], where: str) -> str:
    if match["escape"]:
        return match[0][1:]
    found = environ.get(match["name"])
    if found is None and match["default"] is None:
        raise ValueError(f"{where} needs the environment variable {match['name']}; set it, or write a default after :-")
    # As in a shell, a default also replaces an empty variable.
    return found or match["default"] or ""


def _executors(task: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
    if task.get("executor") is not None and task.get("executors") is not None:
        raise ValueError(f"{where} has executor and executors; keep one of them")
    listed = task.get("executors") if task.get("executors") is not None else task.get("executor")
    if listed is None:
        return None
    names = [listed] if isinstance(listed, str) else a_list(listed, f"{where}.executors")
    for name in names:
        if name not in EXECUTORS:
            hint = did_you_mean(str(name), EXECUTORS)
            raise ValueError(f"{where}.executors has {name!r}{hint}; known executors: {', '.join(EXECUTORS)}")
    if not names:
        raise ValueError(f"{where}.executors is empty; leave it out, or list some of {', '.join(EXECUTORS)}")
    return tuple(names)


def _component(components: Any, name: Any, environ: Mapping[str, str], where: str) -> Component | None:
    """The component of a task. Without settings, it has its own name everywhere."""
    if name is None:
        return None
    name = str(name)
    known = _by_name(components, "components")
    if known and name not in known:
        raise ValueError(
            f"{where}.component is {name!r}{did_you_mean(name, known)}; components: {', '.join(map(str, known))}"
        )
    settings = a_mapping(_substituted(known.get(name), environ, f"components.{name}"), f"components.{name}")
    check_keys(settings, COMPONENT_KEYS, f"components.{name}")
    kubernetes = a_mapping(settings.get("kubernetes"), f"components.{name}.kubernetes")
    check_keys(kubernetes, KUBERNETES_COMPONENT_KEYS, f"components.{name}.kubernetes")
    compose = a_mapping(settings.get("container"), f"components.{name}.container")
    check_keys(compose, COMPOSE_COMPONENT_KEYS, f"components.{name}.container")
    return Component(
        deployment=str(kubernetes.get("deployment") or name),
        container=_text(kubernetes.get("container"), f"components.{name}.kubernetes.container"),
        service=str(compose.get("service") or name),
        project=_text(compose.get("project"), f"components.{name}.container.project"),
    )


def _env(env: Any, where: str) -> dict[str, str]:
    """The environment. Numbers and flags become text, because authors do not quote ports."""
    texts = {}
    for name, value in a_mapping(env, where).items():
        if value is None or isinstance(value, Mapping | list):
            raise ValueError(f"{where}.{name} must be text, not {type(value).__name__}")
        texts[str(name)] = str(value).lower() if isinstance(value, bool) else str(value)
    return texts


def _list_or_none(value: Any, where: str) -> list[Any] | None:
    return None if value is None else a_list(value, where)


def _words(value: Any, where: str) -> list[str] | None:
    words = _list_or_none(value, where)
    for word in words or ():
        if not isinstance(word, str):
            raise ValueError(f"{where} must be a list of strings, not of {type(word).__name__}: quote {word!r}")
    return words


def _by_name(value: Any, where: str) -> dict[str, Any]:
    """The mapping with its keys as text; YAML reads ``2024`` as a number."""
    return {str(name): item for name, item in a_mapping(value, where).items()}


def _text(value: Any, where: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{where} must be text, not {type(value).__name__}")
    return value


def _flag(value: Any, where: str) -> bool:
    if value not in (None, True, False):
        raise ValueError(f"{where} must be true or false, not {value!r}")
    return bool(value)
