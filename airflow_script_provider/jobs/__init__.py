"""Launching, following and deleting a Job: the asynchronous half, which fetches, sleeps and obeys ``kube``."""
