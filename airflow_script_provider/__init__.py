"""Run a script as a Kubernetes Job from Airflow."""

__version__ = "0.1.0"
