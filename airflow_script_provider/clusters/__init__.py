"""Clusters that an Airflow connection leads to: their addresses and credentials."""
