"""Run an SQL migration in one transaction. ``args`` become variables of psql."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_script_provider.operators.script import KubernetesScriptOperator

MIGRATION = """
create table if not exists cities (name text primary key, people int);
insert into cities values (:'city', :people) on conflict (name) do update set people = excluded.people;
select name || ' has ' || people || ' people' from cities;
"""

with DAG("example_sql_migration", schedule=None, tags=["script-provider"]):
    KubernetesScriptOperator(
        task_id="migrate",
        script=MIGRATION,
        image="postgres:15-alpine",
        args={"city": "Bern", "people": 137000},
        env={
            "PGHOST": "{{ conn.warehouse.host }}",
            "PGUSER": "{{ conn.warehouse.login }}",
            "PGPASSWORD": "{{ conn.warehouse.password }}",
            "PGDATABASE": "{{ conn.warehouse.schema }}",
        },
    )
