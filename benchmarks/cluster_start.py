"""How long the embedded cluster takes to start, for each version of Kubernetes and containerd."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.report import ratio, spread, table, target

ROOT = Path(__file__).parents[1]
DEFAULT = "1.34 debian"
CLUSTERS = (
    *(f"{kubernetes} debian" for kubernetes in ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")),
    "1.34 2",
    "1.37 2",
)
"""Versions of Kubernetes and containerd."""


def seconds_to_start(checkout: Path, cluster: str) -> float:
    """Start this cluster, and remove it again."""
    kubernetes, containerd = cluster.split()
    command = [sys.executable, "dev/cluster"]
    start = time.perf_counter()
    up = [*command, "up", "--kubernetes", kubernetes, "--containerd", containerd]
    try:
        subprocess.run(up, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start
    finally:
        subprocess.run([*command, "down"], cwd=checkout, check=True, stdout=subprocess.DEVNULL)


def rows(times: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """A row per cluster."""
    default = median(times[DEFAULT])
    return [
        [*cluster.split(), spread(measured, digits=1), ratio(median(measured), default)]
        for cluster, measured in times.items()
    ]


def targets(times: Mapping[str, Sequence[float]]) -> list[str]:
    """The verdict on what is promised."""
    slowest = max(median(measured) for measured in times.values()) / median(times[DEFAULT])
    words = "no version takes more than 1.5 times as long as the default"
    return [target(words, reached=slowest <= 1.5, numbers=f"{slowest:.2f}x")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="start-") as folder:
        checkout = Path(folder) / "checkout"
        subprocess.run(["git", "clone", "-q", ROOT, checkout], check=True)
        for cluster in CLUSTERS:
            seconds_to_start(checkout, cluster)  # what is built or packed once is then in the cache
        taken = [(cluster, seconds_to_start(checkout, cluster)) for _ in range(rounds) for cluster in CLUSTERS]
    times = {cluster: [seconds for of, seconds in taken if of == cluster] for cluster in CLUSTERS}
    print(table(("Kubernetes", "containerd", "start, s", "of the default"), rows(times)))
    print()
    print("\n".join(targets(times)))


if __name__ == "__main__":
    main()
