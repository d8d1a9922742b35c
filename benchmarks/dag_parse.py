"""What a DAG file with many of our operators costs its parser, beside other operators, in fresh processes."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.contenders import OURS, POD_OPERATOR, own_airflow_home, own_environment
from benchmarks.report import ratio, spread, table, target

BASH_OPERATOR = "BashOperator"
OPERATORS = 200
ALLOWED = 1.5

_FILES = {
    OURS: """
from airflow_script_provider.operators.script import KubernetesScriptOperator as Operator
arguments = {"script": "print('hi')", "env": {"DAY": "{{ ds }}"}}
""",
    BASH_OPERATOR: """
from airflow.providers.standard.operators.bash import BashOperator as Operator
arguments = {"bash_command": "echo hi", "env": {"DAY": "{{ ds }}"}}
""",
    POD_OPERATOR: """
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as Operator
arguments = {"image": "python", "cmds": ["python", "-c", "print('hi')"], "env_vars": {"DAY": "{{ ds }}"}}
""",
}
_DAG = f"""
from airflow.sdk import DAG
with DAG("parsed", schedule=None) as dag:
    for number in range({OPERATORS}):
        Operator(task_id=f"task_{{number}}", **arguments)
"""
_PROBE = """
import json, runpy, sys, time
import airflow.sdk
from airflow.serialization.serialized_objects import DagSerialization
runpy.run_path(sys.argv[1])
start = time.process_time()
dag = runpy.run_path(sys.argv[2])["dag"]
parsed = time.process_time()
DagSerialization.to_dict(dag)
print(json.dumps([parsed - start, time.process_time() - parsed]))
"""


def measure(file: Path, empty: Path) -> tuple[float, float]:
    """Seconds of CPU for parsing a file and for serializing its DAG, after a DAG without tasks."""
    command = [sys.executable, "-c", _PROBE, str(empty), str(file)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=own_environment()).stdout
    parsing, serializing = json.loads(output.splitlines()[-1])
    return parsing, serializing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with own_airflow_home(), tempfile.TemporaryDirectory(prefix="benchmark-dags-") as folder:
        empty = Path(folder) / "empty.py"
        empty.write_text('from airflow.sdk import DAG\ndag = DAG("empty", schedule=None)\n')
        files = {name: Path(folder) / f"{name}.py" for name in _FILES}
        for name, file in files.items():
            file.write_text(_FILES[name] + _DAG)
            measure(file, empty)  # whose modules are then compiled
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
        for _ in range(rounds):
            for name, file in files.items():
                found[name].append(measure(file, empty))
    sums = {name: median(map(sum, times)) for name, times in found.items()}
    rows = [
        [
            f"{OPERATORS} times {name}",
            spread([parsing for parsing, _ in times]),
            spread([serializing for _, serializing in times]),
            ratio(sums[name], sums[BASH_OPERATOR]),
        ]
        for name, times in found.items()
    ]
    print(table(("DAG", "parsing, s of CPU", "serializing, s of CPU", "ratio of both"), rows))
    print()
    numbers = ratio(sums[OURS], sums[BASH_OPERATOR])
    is_reached = sums[OURS] <= ALLOWED * sums[BASH_OPERATOR]
    print(target(f"at most {ALLOWED} times {BASH_OPERATOR}", reached=is_reached, numbers=numbers))


if __name__ == "__main__":
    main()
