"""What parsing a DAG file costs more for each operator that it imports."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contenders import own_airflow_home, own_environment
from benchmarks.report import spread, table, target

ALONE = "airflow.sdk"
OURS = "airflow_script_provider.operators.script"
PEER = "airflow.providers.cncf.kubernetes.operators.job"

_PROBE = """
import json, pathlib, resource, sys, time
def now():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return time.perf_counter(), pages * resource.getpagesize() / 1e6, len(sys.modules)
start = now()
import airflow.sdk
alone = now()
__import__(sys.argv[1])
print(json.dumps([start, alone, now()]))
"""


@dataclass(frozen=True)
class Import:
    """Seconds, resident MB and modules of a process that imports ``airflow.sdk`` and then a module."""

    module: str
    seconds: float
    memory: float
    modules: float
    added_seconds: float
    added_memory: float
    added_modules: float


def measure(module: str) -> Import:
    """Import in a fresh interpreter."""
    command = [sys.executable, "-c", _PROBE, module]
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=own_environment()).stdout
    start, alone, end = json.loads(output.splitlines()[-1])
    added = [after - before for after, before in zip(end, alone, strict=True)]
    return Import(module, end[0] - start[0], end[1], end[2], *added)


def rows(imports: Sequence[Import]) -> list[list[str]]:
    """A row per module."""
    return [
        [
            f"`{ALONE}`" if module == ALONE else f"… and `{module}`",
            *(spread([getattr(one, what) for one in of_module], digits=digits) for what, digits in _COLUMNS.values()),
        ]
        for module, of_module in _by_module(imports).items()
    ]


_COLUMNS = {
    "all, s": ("seconds", 2),
    "added, s": ("added_seconds", 3),
    "all, MB": ("memory", 0),
    "added, MB": ("added_memory", 1),
    "modules": ("modules", 0),
    "added modules": ("added_modules", 0),
}


def _by_module(imports: Sequence[Import]) -> dict[str, list[Import]]:
    return {module: [one for one in imports if one.module == module] for module in (ALONE, OURS, PEER)}


def targets(imports: Sequence[Import]) -> list[str]:
    """The verdicts on what this provider promises."""
    ours = _by_module(imports)[OURS]
    seconds, memory = median(one.added_seconds for one in ours), median(one.added_memory for one in ours)
    return [
        target("our operator adds at most 0.1 s", reached=seconds <= 0.1, numbers=f"{seconds:.3f} s"),
        target("our operator adds at most 5 MB", reached=memory <= 5, numbers=f"{memory:.1f} MB"),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with own_airflow_home():
        measure(PEER)  # whose files are then in the page cache, and compiled
        imports = [measure(module) for _ in range(rounds) for module in (ALONE, OURS, PEER)]
    print(table(("import", *_COLUMNS), rows(imports)))
    print()
    print("\n".join(targets(imports)))


if __name__ == "__main__":
    main()
