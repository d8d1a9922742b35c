"""Pages that are made from the code: the command line's help, settings, and arguments of operators."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from airflow_script_provider.provider_info import get_provider_info
from docs._ext.argument_lists import OperatorArguments
from docs._ext.arguments import OPERATORS, without_arguments

_PACKAGE = Path(__file__).parents[2] / "airflow_script_provider"
_PRIVATE_MODULE = re.compile(r"\b_\w+\.(?=[A-Z])")
_NOT_FOR_CALLERS = re.compile(r", (?:template_fields|_\w+): [^=]+= (?:\([^)]*\)|[^,)]+)")
_LINK_OUT_OF_SITE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:[^)\s]*/|tests/[^)\s]+)\)")


class CommandHelp(SphinxDirective):
    """``{command-help} run``: the output of ``airflow-script run --help``."""

    has_content = False
    optional_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """A literal block."""
        self.env.note_dependency(str(_PACKAGE / "cli" / "arguments.py"))
        block = nodes.literal_block(text := _help(*self.arguments), text)
        block["language"] = "none"
        return [block]


class ProviderSettings(SphinxDirective):
    """``{provider-settings}``: the options of ``provider_info``'s ``config``, each with its description."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """A definition for each option."""
        self.env.note_dependency(str(_PACKAGE / "provider_info.py"))
        text = "\n".join(line for section in get_provider_info().get("config", {}).values() for line in _spelt(section))
        return self.parse_text_to_nodes(StringList(text.splitlines(), source="provider_info.py"))


def without_links_out_of_site(app: Sphinx, name: str, source: list[str]) -> None:
    """Drop links to folders and tests of the repository: they work where a page is read as a file."""
    source[0] = _LINK_OUT_OF_SITE.sub(r"\1", source[0])


def for_callers(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A signature without parameters that no caller passes, and without private modules in its types.

    The arguments of operators have a list of their own on the page.
    """
    if thing in OPERATORS.values():
        return "(*, task_id, **arguments)", returned
    return (_NOT_FOR_CALLERS.sub("", _PRIVATE_MODULE.sub("", signature)) if signature else signature), returned


def without_listed_arguments(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Drop the ``:param`` list of an operator's docstring: the page lists the arguments by subject."""
    if thing in OPERATORS.values():
        lines[:] = without_arguments(lines)


def _help(*command: str) -> str:
    environment = os.environ | {"COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb"}
    program = [sys.executable, "-m", "airflow_script_provider.cli.main", *command, "--help"]
    done = subprocess.run(program, env=environment, check=True, capture_output=True, text=True)  # noqa: S603  # our own program
    return done.stdout.rstrip()


def _spelt(section: dict[str, Any]) -> list[str]:
    lines = []
    for name, option in section["options"].items():
        description = " ".join(option["description"].split())
        example = f" Example: `{option['example']}`." if option.get("example") else ""
        default = f" Default: {option['default']!r}." if option.get("default") is not None else " No default."
        lines += [
            f"`{name}` ({option['type']}, since {option['version_added']})",
            f": {description}{default}{example}",
            "",
        ]
    return lines


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives and the hooks into autodoc."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("provider-settings", ProviderSettings)
    app.add_directive("operator-arguments", OperatorArguments)
    app.connect("autodoc-process-signature", for_callers)
    app.connect("autodoc-process-docstring", without_listed_arguments)
    app.connect("source-read", without_links_out_of_site)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
