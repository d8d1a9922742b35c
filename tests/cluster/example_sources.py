"""Servers with the scripts that the examples read, and the connections that lead to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.servers import gcs_server, s3_server, web_server

REPORT = b"""import json, sys

args = json.loads(sys.argv[1])
print(f"{len(args['orders'])} orders in the {args['region']}, {sum(args['orders'])} in all")
"""


@contextmanager
def example_sources(folder: Path) -> Iterator[dict[str, str]]:
    """The environment for Airflow while the servers run; ``folder`` takes the CA's file."""
    ca = trustme.CA()
    ca_file = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    with web_server(ca) as web, s3_server() as s3, gcs_server() as gcs:
        web.answers("/scripts/report.py", REPORT)
        s3.put("example-scripts", "report.py", REPORT)
        gcs.put("example-scripts", "report.py", REPORT)
        gcs.put("example-scripts", "orders.csv", b"1,2,3\n")
        of_web = {"host": web.url, "login": "airflow", "password": "example", "extra": {"verify": str(ca_file)}}
        of_gcs = {"is_anonymous": True, "project": "example"}
        yield {
            "AIRFLOW_CONN_SCRIPT_SERVER": json.dumps({"conn_type": "http"} | of_web),
            "AIRFLOW_CONN_SCRIPT_BUCKET": s3.connection(),
            "AIRFLOW_CONN_GOOGLE_SCRIPTS": json.dumps({"conn_type": "google_cloud_platform", "extra": of_gcs}),
            "STORAGE_EMULATOR_HOST": gcs.url,
        }
