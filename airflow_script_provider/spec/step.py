"""Find one step in a playbook, a list of steps, or a step alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_script_provider.kube.syntax import check_keys, did_you_mean
from airflow_script_provider.spec.settings import a_list, a_mapping

KIND = "script"

PLAYBOOK_KEYS = (
    "apiVersion", "kind", "metadata", "name", "path", "version", "description",
    "workload", "keychain", "executor", "workbook", "workflow",
)  # fmt: skip
_KEYS_BESIDE_STEP = ("keychain", "workload")
_KEYS_BESIDE_TOOL = ("script", "args", "job")
_ARGS = ("args", "input")
"""Two spellings of one setting."""
STEP_KEYS = ("step", "desc", "tool", "next", *_KEYS_BESIDE_TOOL, "input")
TOOL_KEYS = ("kind", *_KEYS_BESIDE_TOOL, "input")
KEYCHAIN_KEYS = ("name", "kind", "scope", "credential")


@dataclass(frozen=True)
class Step:
    """A step of the Script tool, with the parts of its playbook that it needs.

    ``tool`` has the keys ``script``, ``args`` and ``job``. ``keychain`` maps names to connections.
    ``workload`` are values that a DAG run may replace.
    """

    tool: Mapping[str, Any]
    name: str | None = None
    description: str | None = None
    keychain: Mapping[str, str] = field(default_factory=dict)
    workload: Mapping[str, Any] = field(default_factory=dict)


def find_step(document: Any, name: str | None = None) -> Step:
    """The step of this name, or the only one with a script; ``ValueError`` lists the steps."""
    root = {"workflow": document} if isinstance(document, list | tuple) else a_mapping(document, "spec")
    if "workflow" in root:
        check_keys(root, PLAYBOOK_KEYS, "spec")
        steps = [_as_step(entry) for entry in a_list(root["workflow"], "workflow")]
    else:
        steps = [_as_step({key: value for key, value in root.items() if key not in _KEYS_BESIDE_STEP})]
    step = _chosen(steps, name)
    check_keys(step, STEP_KEYS, _label(step))
    return Step(
        tool=_tool(step),
        name=str(step["step"]) if step.get("step") is not None else None,
        description=step.get("desc"),
        keychain=_keychain(root.get("keychain")),
        workload=a_mapping(root.get("workload"), "workload"),
    )


def _as_step(entry: Any) -> dict[str, Any]:
    """The entry as a step whose ``tool`` is a mapping.

    The entry may contain its tool, name its tool, or be the tool alone.
    """
    step = dict(a_mapping(entry, "a step"))
    if "step" not in step and "tool" not in step:
        return {"tool": step}
    tool = step["tool"] if step.get("tool") is not None else step.pop("kind", None)
    if isinstance(tool, str):
        return step | {"tool": {"kind": tool}}
    if isinstance(tool, list) and len(tool) == 1 and isinstance(tool[0], Mapping) and len(tool[0]) == 1:
        return step | {"tool": next(iter(tool[0].values()))}
    return step


def _chosen(steps: Sequence[dict[str, Any]], name: str | None) -> dict[str, Any]:
    if name is not None:
        return _named(steps, name)
    scripts = [step for step in steps if _kind(step) == KIND]
    if len(scripts) == 1:
        return scripts[0]
    if not scripts:
        found = ", ".join(f"{_label(step)} (tool {_kind(step)!r})" for step in steps) or "none"
        raise ValueError(f"spec has no step with the tool 'script'; its steps: {found}")
    raise ValueError(f"spec has several steps; choose one with step=…: {_names(scripts)}")


def _named(steps: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [step for step in steps if str(step.get("step")) == name]
    if len(found) > 1:
        raise ValueError(f"spec has {len(found)} steps with the name {name!r}; give each step its own name")
    if not found:
        known = [str(step["step"]) for step in steps if step.get("step")]
        raise ValueError(f"spec has no step {name!r}{did_you_mean(name, known)}; its steps: {_names(steps)}")
    if _kind(found[0]) != KIND:
        raise ValueError(
            f"step {name!r} has the tool {_kind(found[0])!r}, not 'script'; write it as a @task that reads the result"
        )
    return found[0]


def _names(steps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(step.get("step") or "(no name)") for step in steps)


def _label(step: Mapping[str, Any]) -> str:
    return f"step {step['step']!r}" if step.get("step") else "spec"


def _kind(step: Mapping[str, Any]) -> str:
    tool = step.get("tool")
    if isinstance(tool, list):
        return "a list of tasks"
    if tool is None and "script" not in step and step.get("step"):
        return "nothing"  # a step that only leads to other steps
    return str(tool.get("kind", KIND)) if isinstance(tool, Mapping) else KIND


def _tool(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """The step's tool. Each of its settings may also be written beside it, in the step."""
    label = _label(step)
    tool = a_mapping(step.get("tool"), f"tool of {label}")
    check_keys(tool, TOOL_KEYS, label)
    tool, step = _with_args(tool, label), _with_args(step, label)
    beside = {name: step[name] for name in _KEYS_BESIDE_TOOL if step.get(name) is not None}
    for name, value in beside.items():
        for setting in _contradictions(value, tool.get(name), name):
            raise ValueError(f"{_label(step)} has different values of {setting} beside tool and in tool; keep one")
    return {**tool, **{name: _merged(value, tool.get(name)) for name, value in beside.items()}}


def _with_args(level: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    """The settings with ``input`` under its other name. An error shows no value of theirs."""
    given = [level[name] for name in _ARGS if level.get(name) is not None]
    if len(given) == 2 and given[0] != given[1]:
        raise ValueError(f"{label} has different values of args and input; keep one of them")
    rest = {name: value for name, value in level.items() if name not in _ARGS}
    return {**rest, "args": given[0]} if given else rest


def _contradictions(beside: Any, within: Any, name: str) -> list[str]:
    """The names of settings with different values.

    The values may be secrets, so they are left out.
    """
    if within is None or beside == within:
        return []
    if not isinstance(beside, Mapping) or not isinstance(within, Mapping):
        return [name]
    return [f"{name}.{key}" for key in beside if key in within and beside[key] != within[key]]


def _merged(beside: Any, within: Any) -> Any:
    return {**within, **beside} if isinstance(beside, Mapping) and isinstance(within, Mapping) else beside


def _keychain(entries: Any) -> dict[str, str]:
    """The connection of each name: its ``credential``, or the name itself."""
    keychain: dict[str, str] = {}
    for position, item in enumerate(a_list(entries, "keychain")):
        where = f"keychain[{position}]"
        entry = a_mapping(item, where)
        check_keys(entry, KEYCHAIN_KEYS, where)
        if not entry.get("name"):
            raise ValueError(f"{where} has no name")
        keychain[str(entry["name"])] = str(entry.get("credential") or entry["name"])
    return keychain
