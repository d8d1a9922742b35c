"""The category of a failure where the script's own output or exit code tells it, and Kubernetes' word beside it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.result import Category
from tests.cluster.tasks import run_task

SMALL = {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "64Ki"}}
READ_ONLY = {"name": "script", "securityContext": {"readOnlyRootFilesystem": True}}
NO_DNS = {
    "nameservers": ["127.0.0.1"],
    "options": [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}],
}
TOO_MUCH = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (10**8, 10**8))\nbytearray(10**9)"
OTHER_PROCESSORS = """
import os, subprocess
with open("/tmp/etl", "wb") as program:
    program.write(bytes([127]) + b"ELF" + bytes(60))
os.chmod("/tmp/etl", 0o755)
subprocess.run(["/tmp/etl"])
"""
NO_ANSWER = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=0)
connections = [socket.create_connection(server.getsockname(), timeout=1) for _ in range(9)]
"""
UNTRUSTED = 'import os, urllib.request\nurllib.request.urlopen("https://" + os.environ["KUBERNETES_SERVICE_HOST"])'


@pytest.mark.parametrize(
    ("category", "script", "arguments"),
    [
        (Category.MODULE_NOT_FOUND, "import no_such_module", {}),
        (Category.SYNTAX_ERROR, "if", {}),
        (Category.SYNTAX_ERROR, "#!/bin/sh\nif", {}),
        (Category.MEMORY_ERROR, TOO_MUCH, {}),
        (Category.FILE_NOT_FOUND, "open('/data/orders.csv')", {}),
        (Category.PERMISSION_DENIED, "open('/etc/shadow')", {"run_as_uid": 1000}),
        (Category.MISSING_CAPABILITY, "import os\nos.chown('/etc/passwd', 1, 1)", {}),
        (
            Category.READ_ONLY_FILE_SYSTEM,
            "open('/etc/x', 'w')",
            {"pod_overrides": {"spec": {"containers": [READ_ONLY]}}},
        ),
        (
            Category.NO_SPACE_LEFT,
            "#!/bin/sh\nhead -c 1000000 /dev/zero > /small/x",
            {"volumes": [SMALL], "volume_mounts": [{"name": "small", "mountPath": "/small"}]},
        ),
        (
            Category.NAME_NOT_RESOLVED,
            "import socket\nsocket.getaddrinfo('db.invalid', 5432)",
            {"pod_overrides": {"spec": {"dnsPolicy": "None", "dnsConfig": NO_DNS}}},
        ),
        (Category.CONNECTION_REFUSED, "import socket\nsocket.create_connection(('127.0.0.1', 9))", {}),
        (Category.HOST_UNREACHABLE, NO_ANSWER, {}),
        (Category.CERTIFICATE_INVALID, UNTRUSTED, {}),
        (Category.COMMAND_NOT_FOUND, "#!/bin/sh\nno_such_command", {}),
        (Category.NOT_EXECUTABLE, "#!/bin/sh\ntouch /tmp/etl; /tmp/etl", {}),
        (Category.NOT_EXECUTABLE, OTHER_PROCESSORS, {}),
        (Category.KILLED, "#!/bin/sh\nexit 137", {}),
        (Category.SIGNALED, "import os\nos.kill(os.getpid(), 11)", {}),
        (Category.ERROR, "raise SystemExit(3)", {}),
        (Category.ERROR, "float(None)", {}),
    ],
    ids=lambda value: value if isinstance(value, Category) else "",
)
def test_the_output_tells_the_category(
    shared: dict[str, Any], category: Category, script: str, arguments: dict[str, Any]
) -> None:
    """In the exception and in the result alike (R22)."""
    run = run_task(script=script, backoff_limit=0, **arguments, **shared)
    assert getattr(run.error, "category", None) == run.result["category"] == category, run.headline
    assert run.result["reason"] in ("Error", "BackoffLimitExceeded")
