"""What this provider sends to Kubernetes, and what the answers mean.

The functions take and return plain dicts. They do no I/O and import no client library.
"""
