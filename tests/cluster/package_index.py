"""A package index in a pod, with one package that is nowhere else."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.file_server import file_server
from tests.cluster.kubectl import Kubectl

TOOL = "airflow-script-private-tool"
USER = "bob"
_WHEEL = "airflow_script_private_tool-1.0-py3-none-any.whl"


@dataclass(frozen=True)
class Index:
    """A package index that wants a login."""

    address: str

    def url(self, password: str) -> str:
        """Its URL with the login in it, as pip and uv take it."""
        return f"http://{USER}:{password}@{self.address}/simple"

    def settings(self, **values: str) -> dict[str, str]:
        """Variables for pip, which trusts no host without TLS unless told to."""
        return {"PIP_TRUSTED_HOST": self.address.partition(":")[0], **values}


@contextmanager
def package_index(kubectl: Kubectl, namespace: str, password: str) -> Iterator[Index]:
    """The index while the block lasts; its package is called TOOL and has the module ``private_tool``."""
    wheel = _wheel()
    link = f'<a href="{_WHEEL}#sha256={hashlib.sha256(wheel).hexdigest()}">{_WHEEL}</a>'
    files = {f"simple/{TOOL}/index.html": link.encode(), f"simple/{TOOL}/{_WHEEL}": wheel}
    with file_server(kubectl, namespace, files, f"{USER}:{password}") as address:
        yield Index(address)


def _wheel() -> bytes:
    """A package of one module that says 42."""
    about = "airflow_script_private_tool-1.0.dist-info"
    members = {
        "private_tool.py": "ANSWER = 42\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {TOOL}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*members, f"{about}/RECORD"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in {**members, f"{about}/RECORD": record}.items():
            archive.writestr(path, text)
    return content.getvalue()
