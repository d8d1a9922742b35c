"""``airflow-script``: run a script here, in a container, in a running pod or as a Job."""
