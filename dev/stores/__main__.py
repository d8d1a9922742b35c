"""Builds other servers for S3 and Google Cloud Storage than the tests use: `python dev/stores` prints their paths.

MinIO and fake-gcs-server are second opinions beside moto and gcp-storage-emulator; `make test-matrix ROW=stores` runs
the tests of sources with them.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
CLUSTER_MODULES = HERE.with_name("cluster")
PACKAGES = {"minio": "github.com/minio/minio", "fake-gcs-server": "github.com/fsouza/fake-gcs-server"}


def main() -> None:
    """Build what is missing in the cache, and print a line of name and path for each."""
    sys.path.append(str(CLUSTER_MODULES))
    from binaries import ENVIRONMENT, Build
    from go import Module
    from steps import Steps

    for name, package in PACKAGES.items():
        go_mod = HERE / name / "go.mod"
        module = Module(go_mod.parent, ("-trimpath", "-buildvcs=false"), ENVIRONMENT, go_mod)
        sources = (go_mod, go_mod.with_suffix(".sum"))
        build = Build(name, name, module, {name: package}, sources, (1, 26), "1 to 5 minutes on two free cores")
        print(name, build.programs(Steps(build.planned())) / name, flush=True)


if __name__ == "__main__":
    main()
