"""Hooks: from an Airflow connection to a running script."""
