"""Operators that run a script on Kubernetes."""
