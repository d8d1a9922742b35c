"""The surroundings of `make demo` and `make ui`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

FILE = Path(__file__).parents[3] / "dev" / "airflow-env"
MAKE = '#!/bin/sh\necho "make $* with $KUBERNETES" >&2\n'


def test_the_cluster_has_the_version_that_is_asked_for(tmp_path: Path) -> None:
    """As in `make demo KUBERNETES=1.37`."""
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(MAKE)
    make.chmod(0o755)
    (tmp_path / "example_dags").mkdir()
    shutil.copy(FILE, tmp_path)
    environment = {"PATH": f"{make.parent}:/usr/bin:/bin", "KUBERNETES": "1.37"}
    command = ["bash", "-euc", "source ./airflow-env; echo $KUBECONFIG"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "make -s cluster-up with 1.37\n"
    assert done.stdout == f"{tmp_path}/.cluster/kubeconfig\n"
