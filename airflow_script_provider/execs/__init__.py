"""Running in a pod that is there: find it, open an exec, feed it, read it, end it. Knows no Airflow."""
