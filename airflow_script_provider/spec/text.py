"""Read YAML text as plain mappings and lists."""

from __future__ import annotations

from typing import Any


def read_yaml(text: str) -> Any:
    """The document in the text.

    Dates stay text, because ``args`` become JSON. ``ValueError`` says where the text is not valid
    YAML. It also names a key that stands twice in one mapping; YAML would silently keep the last
    one.
    """
    import yaml  # only a DAG with YAML text loads it

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  # derived from SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"spec is not valid YAML: {' '.join(str(error).split())}") from None


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """A safe loader without dates and without duplicate keys."""

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
