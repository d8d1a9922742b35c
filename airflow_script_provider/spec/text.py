"""YAML text as plain mappings and lists."""

from __future__ import annotations

from typing import Any


def read_yaml(text: str) -> Any:
    """The document that the text holds.

    Dates stay text, because ``args`` travel as JSON. ``ValueError`` says where the text is no YAML, and names a key
    that stands twice in one mapping, of which YAML would silently keep the last.
    """
    import yaml  # a DAG without YAML text need not load it

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  # derived from SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"spec is no YAML: {' '.join(str(error).split())}") from None


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Safe, without dates, without double keys."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            for name in names:
                if names.count(name) > 1:
                    line = node.start_mark.line + 1
                    raise ValueError(f"spec has the key {name!r} twice in the mapping that begins in line {line}")
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
