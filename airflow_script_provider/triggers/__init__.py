"""Waiting for scripts without a worker."""
