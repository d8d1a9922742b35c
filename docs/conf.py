"""How the site is built: `make docs`."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

_DOCS = Path(__file__).parent
sys.path[:0] = [str(_DOCS / "_ext"), str(_DOCS.parent)]

# autodoc imports the package, and importing Airflow writes files into AIRFLOW_HOME.
_home = tempfile.mkdtemp(prefix="airflow-docs-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from airflow_script_provider import __version__  # noqa: E402  # needs the paths and variables above

project = "airflow-script-provider"
author = "the authors of airflow-script-provider"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "generated"]
exclude_patterns = ["_ext", "_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # the same anchors as on GitHub

html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"footer_icons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

nitpicky = True
nitpick_ignore_regex = [
    # Types of other packages. Linking to their documentation would need a network during the build.
    (r"py:.*", r"(collections|typing|datetime|pathlib|asyncio|enum|logging|abc|types)(\..*)?"),
    (r"py:.*", r"(airflow|jinja2|kubernetes|kubernetes_asyncio)\..*"),
    # Names imported under TYPE_CHECKING appear in signatures as written, without their module.
    (r"py:.*", r"[A-Z]\w*"),
    # Internal types: they appear in signatures but have no page.
    (r"py:.*", r"airflow_script_provider\.kube\..*"),
]
