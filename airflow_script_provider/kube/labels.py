"""Every name that our objects bear on the cluster: labels, annotations, containers, volumes. A wire contract."""

from __future__ import annotations

MANAGER = "airflow-script-provider"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
LAUNCH_LABEL = f"{MANAGER}/launch-id"
TASK_INSTANCE_LABEL = f"{MANAGER}/task-instance"
REQUEST_LABEL = f"{MANAGER}/request"
NODES_LABEL = f"{MANAGER}/nodes"
"""Launch id of the Job that owns those which run the same script on several nodes."""
TRY_NUMBER_ANNOTATION = f"{MANAGER}/try-number"
MAX_TRIES_ANNOTATION = f"{MANAGER}/max-tries"
READ_ANNOTATION = f"{MANAGER}/read"
"""When the outcome of a Job was read: no later try of the task asks for it."""
FOLLOW_STATE_ANNOTATION = f"{MANAGER}/handover"
NODE_ANNOTATION = f"{MANAGER}/node"
NODE_LABEL = f"{MANAGER}/node"
RUN_LABEL = f"{MANAGER}/run"
HOST_VOLUME = "airflow-host"
CONTROLLER_LABELS = (
    "controller-uid",
    "job-name",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
)
"""Labels that Kubernetes itself gives to the pods of a Job."""
PLAN_ANNOTATION = f"{MANAGER}/plan"
"""On the Job that owns those of the nodes: what is to be done, packed, for whoever goes on with it."""
OUTCOME_ANNOTATION = f"{MANAGER}/outcome"
ENDED_ANNOTATION_PREFIX = f"{MANAGER}/ended-"
"""Annotations of the owner: outcomes of runs that have no Job any more, or never had one."""
FILES_ANNOTATION = f"{MANAGER}/files"
DIGEST_ANNOTATION = f"{MANAGER}/script-sha256"
ORIGIN_ANNOTATION = f"{MANAGER}/script-origin"
SIZE_ANNOTATION = f"{MANAGER}/script-bytes"
CONTROLLER_LABEL = "batch.kubernetes.io/controller-uid"
SCRIPT_CONTAINER = "script"
SCRIPT_VOLUME = "airflow-script"
SCRIPT_FOLDER = "/scripts"
INSTALL_CONTAINER = "install"
PACKAGES_VOLUME = "airflow-packages"
