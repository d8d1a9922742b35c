"""Every name that our objects have on the cluster: labels, annotations, containers, volumes.

Running Jobs and rows in a database rely on them: this table is a contract between versions.
"""

from __future__ import annotations

MANAGER = "airflow-script-provider"
"""Value of the label below, and the prefix of all other labels and annotations."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

# Labels of a launch: Job, pods, ConfigMap and Secret have them.

LAUNCH_LABEL = f"{MANAGER}/launch-id"
"""Digest of try, ordinal and request, or random: a create that is repeated finds its Job by it."""
DAG_ID_LABEL = f"{MANAGER}/dag-id"
TASK_ID_LABEL = f"{MANAGER}/task-id"
"""DAG and task as label values may hold them: cut, and with other characters replaced."""
TASK_INSTANCE_LABEL = f"{MANAGER}/task-instance"
"""Digest of DAG, task, run, map index and origin: the same for every try of a task instance."""
REQUEST_LABEL = f"{MANAGER}/request"
"""Digest of what is asked for: a later try finds the Job of an earlier one by it."""

TRY_NUMBER_LABEL = f"{MANAGER}/try-number"
"""The try that launched it, also where a webhook has replaced the annotations."""

# Annotations of a Job.

TRY_NUMBER_ANNOTATION = f"{MANAGER}/try-number"
MAX_TRIES_ANNOTATION = f"{MANAGER}/max-tries"
TASK_ANNOTATIONS = {
    "dag_id": f"{MANAGER}/dag-id",
    "task_id": f"{MANAGER}/task-id",
    "run_id": f"{MANAGER}/run-id",
    "map_index": f"{MANAGER}/map-index",
    "try_number": TRY_NUMBER_ANNOTATION,
    "max_tries": MAX_TRIES_ANNOTATION,
}
"""Annotations with the task's raw values, by the names that Airflow has for them."""
CALL_ANNOTATION = f"{MANAGER}/call"
"""Digests of request, arguments and all values, with a key that only Airflow has.

Only Jobs that code in a task has launched have it: a later try tells equal requests apart by it.
"""
READ_ANNOTATION = f"{MANAGER}/read"
"""When the outcome of the Job was read: from then on no later try asks for it."""
FOLLOW_STATE_ANNOTATION = f"{MANAGER}/handover"
"""How far a triggerer followed the Job, for the next one."""
END_ANNOTATION = f"{MANAGER}/end"
"""How the script has ended, for a worker or the next try. The Job starts no other pod."""
TIMEOUT_ANNOTATION = f"{MANAGER}/timeout"
"""The ``timeout`` in seconds, on a Job that a follower has ended after so much work."""
DIGEST_ANNOTATION = f"{MANAGER}/script-sha256"
ORIGIN_ANNOTATION = f"{MANAGER}/script-origin"
SIZE_ANNOTATION = f"{MANAGER}/script-bytes"
FILES_ANNOTATION = f"{MANAGER}/files"
"""Origin, digest and size of each file beside the script, as JSON."""

# Scripts on nodes: one Job owns the Jobs of all runs.

NODES_LABEL = f"{MANAGER}/nodes"
"""Launch id of the Job that owns the runs of a script on nodes; the owner and its runs have it."""
NODE_LABEL = f"{MANAGER}/node"
"""The run's node, cut to what a label may hold."""
RUN_LABEL = f"{MANAGER}/run"
"""Index of the run on its node, from 0; the owner does not have it."""
NODE_ANNOTATION = f"{MANAGER}/node"
"""The run's node by its full name."""
PLAN_ANNOTATION = f"{MANAGER}/plan"
"""On the owner: nodes, runs and bounds, packed, for the process that goes on with them."""
OUTCOME_ANNOTATION = f"{MANAGER}/outcome"
"""On a run: its record."""
ENDED_ANNOTATION_PREFIX = f"{MANAGER}/ended-"
"""On the owner: records of runs whose Job is gone, or could not be created."""

# Parts of the pod; users name the containers in pod_overrides.

SCRIPT_CONTAINER = "script"
INSTALL_CONTAINER = "install"
SCRIPT_VOLUME = "airflow-script"
SCRIPT_FOLDER = "/scripts"
"""Where the script and its files are mounted."""
PACKAGES_VOLUME = "airflow-packages"
HOST_VOLUME = "airflow-host"

# Kubernetes' own.

CONTROLLER_LABEL = "batch.kubernetes.io/controller-uid"
"""Uid of the Job that a pod belongs to."""
CONTROLLER_LABELS = (
    "controller-uid",
    "job-name",
    CONTROLLER_LABEL,
    "batch.kubernetes.io/job-name",
)
"""Labels that the Job controller gives to the pods of a Job."""

# Kueue's own: https://kueue.sigs.k8s.io/docs/reference/labels-and-annotations/

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On a Job: the LocalQueue that admits it."""
WORKLOAD_JOB_LABEL = "kueue.x-k8s.io/job-uid"
"""On a Workload: uid of its Job."""

INVALID_TEXT = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
"""What reading an annotation raises that another program has changed."""
