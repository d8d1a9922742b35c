"""Run a program in a running pod: find the pod, open an exec, feed, read and end the program.

This package does not know Airflow.
"""
