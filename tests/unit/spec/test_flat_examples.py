"""Examples of the flat form (``script.type``) in the Script tool's documentation."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.sources import FileScript, GCSScript, HttpScript, InlineScript, S3Script
from tests.unit.spec.conftest import IN_THE_TOOLS_MANNER, made_of

FLAT = IN_THE_TOOLS_MANNER | {"name": "noetl-script"}


def test_the_least_that_a_tool_says() -> None:
    """A tool with a text, an image, a namespace and a timeout."""
    assert made_of(
        """
        tool:
          kind: script
          script:
            type: inline
            content: |
              print("{{ not_rendered }} ${#here[@]}")
          job:
            image: python:3.12-slim
            namespace: noetl
            timeout: 240
        """,
        task_id="t",
    ) == FLAT | {
        "task_id": "t",
        "script": InlineScript('print("{{ not_rendered }} ${#here[@]}")\n'),
        "args": {},
        "image": "python:3.12-slim",
        "timeout": 240,
    }


def test_arguments_of_a_script() -> None:
    """Arguments may be a list; the step has a description."""
    assert made_of("""
        workflow:
          - step: sum_up
            desc: Sums numbers up
            tool:
              kind: script
              script:
                type: inline
                content: |
                  import json, sys
                  print(sum(json.loads(sys.argv[1])["numbers"]))
              args:
                numbers: [1, 2, 3]
              job:
                timeout: 30
        """) == FLAT | {
        "task_id": "sum_up",
        "doc_md": "Sums numbers up",
        "script": InlineScript('import json, sys\nprint(sum(json.loads(sys.argv[1])["numbers"]))\n'),
        "args": {"numbers": [1, 2, 3]},
        "timeout": 30,
    }


def test_dependencies() -> None:
    """A tool with packages to install, and with resources."""
    assert made_of("""
        workflow:
          - step: describe
            tool:
              kind: script
              script: {type: inline, content: "import polars"}
              args:
                people:
                  - {name: Ada, age: 36}
                  - {name: Kurt, age: 71}
              job:
                install_dependencies:
                  - polars
                  - pyarrow
                resources:
                  requests: {memory: "128Mi", cpu: "50m"}
                  limits: {memory: "512Mi", cpu: "250m"}
        """) == FLAT | {
        "task_id": "describe",
        "script": InlineScript("import polars"),
        "args": {"people": [{"name": "Ada", "age": 36}, {"name": "Kurt", "age": 71}]},
        "install_dependencies": ["polars", "pyarrow"],
        "container_resources": {
            "requests": {"memory": "128Mi", "cpu": "50m"},
            "limits": {"memory": "512Mi", "cpu": "250m"},
        },
    }


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``secrets`` are found by name, even in upper case; plain values stay."""
    monkeypatch.setenv("AIRFLOW_VAR_PARTNER_KEY", "key-of-the-partner")
    assert made_of("""
        workflow:
          - step: ask
            tool:
              kind: script
              script: {type: inline, content: "import httpx"}
              job:
                install_dependencies: [httpx]
                env:
                  KEY: "{{ secrets.PARTNER_KEY }}"
                  URL: "https://api.example"
                timeout: 90
        """) == FLAT | {
        "task_id": "ask",
        "script": InlineScript("import httpx"),
        "args": {},
        "install_dependencies": ["httpx"],
        "env": {"KEY": "key-of-the-partner", "URL": "https://api.example"},
        "timeout": 90,
    }


def test_a_url() -> None:
    """Arguments may name files."""
    assert made_of("""
        workflow:
          - step: remote
            tool:
              kind: script
              script:
                type: http
                uri: "https://code.example/raw/main/convert.py"
              args: {input: /data/in.json, output: /data/out.json}
              job: {timeout: 660}
        """) == FLAT | {
        "task_id": "remote",
        "script": HttpScript("https://code.example/raw/main/convert.py"),
        "args": {"input": "/data/in.json", "output": "/data/out.json"},
        "timeout": 660,
    }


def test_another_language() -> None:
    """The image decides the language."""
    assert made_of("""
        workflow:
          - step: greet
            tool:
              kind: script
              script:
                type: inline
                content: |
                  const args = JSON.parse(process.argv[2]);
                  console.log(`hello ${args.name}`);
              args: {name: you}
              job: {image: "node:20-slim"}
        """) == FLAT | {
        "task_id": "greet",
        "script": InlineScript("const args = JSON.parse(process.argv[2]);\nconsole.log(`hello ${args.name}`);\n"),
        "args": {"name": "you"},
        "image": "node:20-slim",
    }


def test_much_work() -> None:
    """A tool with one more attempt, half an hour and whole processors."""
    assert made_of("""
        workflow:
          - step: factorize
            tool:
              kind: script
              script: {type: inline, content: "import numpy"}
              job:
                install_dependencies: [numpy]
                timeout: 1800
                backoff_limit: 1
                ttl_seconds_after_finished: 900
                image_pull_policy: Never
                resources:
                  requests: {memory: "2Gi", cpu: "1"}
                  limits: {memory: "4Gi", cpu: "2"}
        """) == FLAT | {
        "task_id": "factorize",
        "script": InlineScript("import numpy"),
        "args": {},
        "install_dependencies": ["numpy"],
        "timeout": 1800,
        "backoff_limit": 1,
        "ttl_seconds_after_finished": 900,
        "image_pull_policy": "Never",
        "container_resources": {"requests": {"memory": "2Gi", "cpu": "1"}, "limits": {"memory": "4Gi", "cpu": "2"}},
    }


@pytest.mark.parametrize(
    ("script", "source"),
    [
        ("{type: inline, content: echo}", InlineScript("echo")),
        ("{type: local, content: clean_up}", InlineScript("rm -r /tmp/x")),
        ("{type: local, content: echo}", InlineScript("echo")),
        ("{type: file, uri: scripts/a.py}", FileScript("scripts/a.py")),
        ("{type: http, uri: a.py, auth: web}", HttpScript("a.py", conn_id="web")),
        ("{type: gcs, uri: gs://b/a.py, auth: google}", GCSScript("gs://b/a.py", conn_id="google")),
        ("{type: s3, uri: s3://b/a.py, region: eu-west-1}", S3Script("s3://b/a.py", region="eu-west-1")),
    ],
)
def test_each_type(script: str, source: Any) -> None:
    """Each type reads its settings; ``local`` is a variable or the text itself."""
    variables = {"clean_up": "rm -r /tmp/x"}
    expected = FLAT | {"task_id": "t", "script": source, "args": {}}
    assert made_of(f"script: {script}", task_id="t", variables=variables) == expected


OF_ECHO = FLAT | {
    "task_id": "t",
    "script": InlineScript("echo"),
    "args": {"n": 1},
    "timeout": 60,
    "backoff_limit": 2,
    "ttl_seconds_after_finished": 30,
    "image_pull_policy": "Always",
}


@pytest.mark.parametrize(
    "job",
    [
        "{timeout: 60, backoff_limit: 2, ttl_seconds_after_finished: 30, image_pull_policy: Always}",
        "{activeDeadlineSeconds: 60, backoffLimit: 2, ttlSecondsAfterFinished: 30, imagePullPolicy: Always}",
        "{timeout: '60', backoffLimit: '2', ttl_seconds_after_finished: '30', imagePullPolicy: Always}",
        "{timeout: '{{ minute }}', backoff_limit: '{{ two }}', ttlSecondsAfterFinished: '{{ minute // 2 }}',"
        " imagePullPolicy: '{{ pull }}'}",
    ],
    ids=["snake case", "camel case", "quoted", "templates"],
)
def test_each_spelling(job: str) -> None:
    """Each spelling of a name and of a number is read."""
    spec = "script: {type: inline, content: echo}\nworkload: {minute: 60, two: 2, pull: Always}\nargs: {n: 1}\njob: "
    assert made_of(spec + job, task_id="t") == OF_ECHO


JOB = "{timeout: 60, backoff_limit: 2, ttl_seconds_after_finished: 30, image_pull_policy: Always}"


@pytest.mark.parametrize(
    "step",
    [
        f"tool: {{kind: script, script: {{type: inline, content: echo}}, args: {{n: 1}}, job: {JOB}}}",
        f"tool: [{{run: {{kind: script, script: {{type: inline, content: echo}}, args: {{n: 1}}, job: {JOB}}}}}]",
        f"tool: script, script: {{type: inline, content: echo}}, args: {{n: 1}}, job: {JOB}",
        f"kind: script, script: {{type: inline, content: echo}}, args: {{n: 1}}, job: {JOB}",
        f"script: {{type: inline, content: echo}}, args: {{n: 1}}, job: {JOB}",
        f"tool: {{kind: script, script: {{type: inline, content: echo}}}}, args: {{n: 1}}, job: {JOB}",
    ],
    ids=["around", "a list of one", "by name", "by kind", "left out", "beside"],
)
def test_each_place_of_the_tool(step: str) -> None:
    """The tool stands in the step, or is the step itself."""
    assert made_of(f"- {{step: t, {step}}}") == OF_ECHO
