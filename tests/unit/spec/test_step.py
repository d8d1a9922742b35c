"""The search for a step."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.spec.step import Step, find_step

TOOL = {"script": {"type": "inline", "content": "echo hi"}}
LOAD = {"step": "load", "desc": "Loads", "tool": {"kind": "script", **TOOL}}
CHECK = {"step": "check", "tool": {"kind": "python", "code": "result = 1"}, "next": [{"step": "load"}]}
FOUND = Step(LOAD["tool"], "load", "Loads")  # type: ignore[arg-type]  # a mapping


@pytest.mark.parametrize("document", [TOOL, {"kind": "script", **TOOL}, {"tool": {"kind": "script", **TOOL}}])
def test_a_tool_alone(document: dict[str, Any]) -> None:
    """A tool needs no step's name, and no ``tool`` around it."""
    found = find_step(document)
    assert (found.name, found.tool["script"]) == (None, TOOL["script"])


@pytest.mark.parametrize("document", [LOAD, [LOAD], {"workflow": [LOAD]}, {"workflow": [CHECK, LOAD]}, [LOAD, CHECK]])
def test_the_only_script_needs_no_choice(document: Any) -> None:
    """The only script of a workflow is found; other tools do not count."""
    assert find_step(document) == FOUND


def test_a_playbook() -> None:
    """A playbook has all its sections; a keychain's entry is a connection."""
    keychain = [{"name": "g", "kind": "bearer", "scope": "global", "credential": "google_default"}, {"name": "aws"}]
    playbook = {"apiVersion": "v10", "kind": "Playbook", "metadata": {}, "workload": {"a": 1}, "keychain": keychain}
    found = find_step(playbook | {"workflow": [LOAD]})
    assert found == Step(FOUND.tool, "load", "Loads", {"g": "google_default", "aws": "aws"}, {"a": 1})


def test_a_step_is_chosen_by_name() -> None:
    """A name chooses one of several steps."""
    assert find_step([LOAD, LOAD | {"step": "other"}], "load") == FOUND


@pytest.mark.parametrize(
    "tool", ["script", [{"run": {"kind": "script", **TOOL}}], {"kind": "script", **TOOL}], ids=["short", "list", "long"]
)
def test_spellings_of_tool(tool: Any) -> None:
    """A tool may be a name, a list with one task, or a mapping."""
    step = {"step": "load", "tool": tool} | (TOOL if tool == "script" else {})
    assert find_step(step).tool["script"] == TOOL["script"]


@pytest.mark.parametrize("tool", [{"kind": "script"}, {"kind": "script", **TOOL}, "script", None])
def test_all_of_a_tool_may_stand_beside_it(tool: Any) -> None:
    """``script``, ``args`` and ``job`` may stand beside ``tool``."""
    step = {"step": "load", "tool": tool, **TOOL, "args": {"n": 1}, "job": {"timeout": 5}}
    found = find_step([step, CHECK]).tool
    assert {name: found[name] for name in found if name != "kind"} == TOOL | {"args": {"n": 1}, "job": {"timeout": 5}}


@pytest.mark.parametrize(
    "step",
    [
        {"tool": {"kind": "script", **TOOL, "input": {"a": 1}}},
        {"tool": {"kind": "script", **TOOL}, "input": {"a": 1}},
        {"tool": {"kind": "script", **TOOL, "input": {"a": 1}, "args": {"a": 1}}},
        {"tool": {"kind": "script", **TOOL, "input": {"a": 1}}, "args": {"a": 1}},
        {"tool": {"kind": "script", **TOOL, "input": {"a": 1}, "args": None}},
        {"tool": "script", **TOOL, "input": {"a": 1}},
    ],
)
def test_input_is_another_name_of_args(step: dict[str, Any]) -> None:
    """In the tool or beside it, and also together with ``args`` of the same value."""
    found = find_step({"step": "load", **step}).tool
    assert (found["args"], "input" in found) == ({"a": 1}, False)


@pytest.mark.parametrize(
    "step",
    [
        {"tool": {"kind": "script", **TOOL, "input": {"a": "s3cr"}, "args": {"a": 2}}},
        {"tool": {"kind": "script", **TOOL, "input": {"a": "s3cr"}}, "args": {"a": 2}},
        {"tool": {"kind": "script", **TOOL}, "input": {"a": "s3cr"}, "args": {"a": 2}},
    ],
)
def test_input_and_args_may_not_differ(step: dict[str, Any]) -> None:
    """The error shows no value (R26)."""
    with pytest.raises(ValueError, match=r"^step 'load' has different values of args") as error:
        find_step({"step": "load", **step})
    assert "s3cr" not in str(error.value)


def test_a_step_may_name_its_tool_by_kind() -> None:
    """``kind`` may name the tool; other tools do not count."""
    steps = [{"step": "check", "kind": "python", "code": "result = 1"}, {"step": "load", "kind": "script", **TOOL}]
    assert find_step(steps) == Step({"kind": "script", **TOOL}, "load")


def test_both_places_are_read_together() -> None:
    """Both places are merged; equal values are accepted."""
    tool = {"kind": "script", **TOOL, "args": ["a"], "job": {"timeout": 5, "image": "x"}}
    found = find_step({"step": "load", "tool": tool, "args": ["a"], "job": {"timeout": 5, "backoffLimit": 1}}).tool
    assert found["job"] == {"timeout": 5, "image": "x", "backoffLimit": 1}
    assert found["args"] == ["a"]


@pytest.mark.parametrize(
    ("beside", "within", "message"),
    [
        (
            {"job": {"timeout": 5}},
            {"job": {"timeout": 6}},
            "different values of job.timeout beside tool and in tool",
        ),
        ({"args": {"key": "s3cr"}}, {"args": {"key": "t0k"}}, "different values of args.key beside tool"),
        ({"args": ["a"]}, {"args": {"a": 1}}, "different values of args beside tool"),
    ],
)
def test_what_both_places_say_differently_is_an_error(beside: Any, within: Any, message: str) -> None:
    """The error names the setting, without values that may be secrets (R26)."""
    with pytest.raises(ValueError, match="step 'load' has") as error:
        find_step({"step": "load", "tool": {"kind": "script", **TOOL, **within}, **beside})
    assert message in str(error.value)
    assert "s3cr" not in str(error.value)


@pytest.mark.parametrize(
    ("document", "name", "message"),
    [
        ([LOAD, LOAD | {"step": "b"}], None, "spec has several steps; choose one with step=…: load, b"),
        ([CHECK], None, "spec has no step with the tool 'script'; its steps: step 'check' (tool 'python')"),
        ([], None, "spec has no step with the tool 'script'; its steps: none"),
        ([LOAD, CHECK], "laod", "spec has no step 'laod'; did you mean 'load'?; its steps: load, check"),
        ([LOAD, LOAD], "load", "spec has 2 steps with the name 'load'; give each step its own name"),
        ([LOAD, CHECK], "check", "step 'check' has the tool 'python', not 'script'; write it as a @task"),
        (TOOL | {"jop": {}}, None, "spec has an unknown key 'jop'; did you mean 'job'?"),
        (LOAD | {"tool": "script", "jop": {}}, None, "step 'load' has an unknown key 'jop'; did you mean 'job'?"),
        (LOAD | {"descr": "x"}, None, "step 'load' has an unknown key 'descr'; did you mean 'desc'?"),
        ({"workflows": [LOAD]}, None, "spec has an unknown key 'workflows'"),
        ({"workflow": [LOAD], "keychan": []}, None, "spec has an unknown key 'keychan'; did you mean 'keychain'?"),
        (
            {"workflow": [LOAD], "keychain": [{"nam": "g"}]},
            None,
            "keychain[0] has an unknown key 'nam'; did you mean 'name'?",
        ),
        ({"workflow": [LOAD], "keychain": [{"kind": "bearer"}]}, None, "keychain[0] has no name"),
        ("text", None, "spec must be a mapping, not str"),
        (LOAD | {"tool": "shell"}, None, "spec has no step with the tool 'script'; its steps: step 'load'"),
        (
            LOAD | {"tool": [{"a": TOOL}, {"b": TOOL}]},
            None,
            "spec has no step with the tool 'script'; its steps: step 'load' (tool 'a list of tasks')",
        ),
    ],
)
def test_a_mistake_is_named(document: Any, name: str | None, message: str) -> None:
    """The message lists the possible choices."""
    with pytest.raises(ValueError, match=r"spec|step|keychain") as error:
        find_step(document, name)
    assert message in str(error.value)


def test_steps_that_only_lead_to_others_do_not_count() -> None:
    """A playbook's start and end have neither tool nor script."""
    steps = [{"step": "start", "next": [{"step": "load"}]}, LOAD, {"step": "end"}]
    assert find_step({"workflow": steps}) == FOUND
