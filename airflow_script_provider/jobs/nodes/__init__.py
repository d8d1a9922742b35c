"""Runs on nodes: nodes are chosen, runs are started, their logs are read, records are written."""
