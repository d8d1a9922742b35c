"""Runs of a script on nodes: choosing nodes, starting runs, reading their logs, writing their records."""
