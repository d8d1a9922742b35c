"""What Kubernetes is told and what its answers mean, as functions of plain dicts: no I/O, no client library."""
