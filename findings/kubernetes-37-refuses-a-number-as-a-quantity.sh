#!/usr/bin/env bash
# The models of kubernetes 37 refuse a number as a quantity, which the Kubernetes API takes and
# kubernetes 36 passes on.
#
# From 37 on, the models are pydantic's and check each value when it is set. A limit of one CPU as the
# number 1, in a DAG that has run for years, is a ValidationError while the DAG is parsed. On the other
# hand, the constructor takes the API's own spelling as well (mountPath), a TypeError before.
# to_dict() still has the names of Python, with all that is None.
#
# Seen on 2026-11-29 with Python 3.11:
#   36.0.3: limits {'cpu': 1}; mountPath is a TypeError
#   37.0.2: ValidationError: limits.cpu Input should be a valid string; mountPath is /data
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/models.py" <<'PY'
import kubernetes
from kubernetes.client import V1ResourceRequirements, V1VolumeMount

try:
    limits = f"limits {V1ResourceRequirements(limits={'cpu': 1}).to_dict()['limits']}"
except ValueError as error:
    (one,) = error.errors()
    limits = f"{type(error).__name__}: {'.'.join(one['loc'])} {one['msg']}"
try:
    path = f"is {V1VolumeMount(name='data', mountPath='/data').mount_path}"
except TypeError:
    path = "is a TypeError"
print(f"{kubernetes.__version__}: {limits}; mountPath {path}")
PY

for version in 36.0.3 37.0.2; do
    python3 -m venv "$work/$version"
    "$work/$version/bin/pip" install --quiet --disable-pip-version-check "kubernetes==$version"
    "$work/$version/bin/python" "$work/models.py"
done >"$work/seen"
cat "$work/seen"
diff "$work/seen" - <<'SEEN'
36.0.3: limits {'cpu': 1}; mountPath is a TypeError
37.0.2: ValidationError: limits.cpu Input should be a valid string; mountPath is /data
SEEN
