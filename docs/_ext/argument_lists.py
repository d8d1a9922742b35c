"""The directive ``{operator-arguments}``: entries for some arguments of an operator."""

from __future__ import annotations

from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from docs._ext.arguments import Argument, arguments_of


class OperatorArguments(SphinxDirective):
    """``{operator-arguments} exec`` with the names of arguments as content: an entry for each.

    Arguments that the operator for Jobs has with the same meaning are in a table below the entries.
    """

    has_content = True
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """A definition list, and a table of what the operator for Jobs has as well."""
        known, of_jobs = arguments_of(self.arguments[0]), arguments_of("script")
        listed = [known[name] for name in " ".join(self.content).split()]
        same = [one for one in listed if one.operator != "script" and one.name in of_jobs]
        same = [one for one in same if one.says_the_same(of_jobs[one.name])]
        own = [self._entry(one) for one in listed if one not in same]
        shown: list[nodes.Node] = [nodes.definition_list("", *own)] if own else []
        return [*shown, self._table(same, of_jobs)] if same else shown

    def _entry(self, argument: Argument) -> nodes.definition_list_item:
        term = nodes.term("", "", nodes.strong("", "", nodes.literal(text=argument.name)), ids=[argument.anchor])
        marks = [argument.shape, *(["templated"] if argument.is_templated else [])]
        classifiers = [nodes.classifier("", "", *self.parse_inline(mark)[0]) for mark in marks]
        meaning = nodes.paragraph("", "", *self.parse_inline(_sentence(argument.meaning))[0])
        facts = nodes.line_block("", *(self._line(text) for text in _facts(argument)))
        item = nodes.definition_list_item("", term, *classifiers, nodes.definition("", meaning, facts))
        self.set_source_info(item)
        return item

    def _line(self, text: str) -> nodes.line:
        return nodes.line("", "", *self.parse_inline(text)[0])

    def _table(self, arguments: list[Argument], of_jobs: dict[str, Argument]) -> nodes.table:
        header = [[nodes.Text(title)] for title in ("As for a Job", "Takes", "Default", "Templated")]
        rows = [self._row(one, of_jobs[one.name]) for one in arguments]
        group = nodes.tgroup("", *(nodes.colspec(colwidth=25) for _ in header), cols=len(header))
        group += nodes.thead("", _row(header))
        group += nodes.tbody("", *map(_row, rows))
        return nodes.table("", group)

    def _row(self, argument: Argument, of_job: Argument) -> list[list[nodes.Node]]:
        link = nodes.reference("", "", nodes.literal(text=argument.name), refid=of_job.anchor, internal=True)
        shape = self.parse_inline(argument.shape)[0]
        default = argument.default_text.removeprefix("Default: ").removesuffix(".")
        return [[link], shape, self.parse_inline(default)[0], [nodes.Text("yes" if argument.is_templated else "")]]


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells))


def _facts(argument: Argument) -> list[str]:
    """Default, fields and example, each in Markdown."""
    fields = " and ".join(f"`{field}`" for field in argument.fact.fields)
    sets = [f"Sets {fields}."] if fields else []
    return [argument.default_text, *sets, f"Example: `{argument.name}={argument.fact.example}`"]


def _sentence(text: str) -> str:
    """With a capital, unless it begins with code."""
    return text[:1].upper() + text[1:]
