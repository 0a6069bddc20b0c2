"""Strict YAML reader: no duplicate keys, and limits on size, depth and aliases. Pure."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 4 << 20  # 100,000 class names of 40 characters
MAX_VALUES = 1_000_000  # with aliases expanded: ten lines of YAML can expand to 10¹⁰ values
MAX_DEPTH = 100


class UniqueKeys(yaml.SafeLoader):
    """A loader for which a duplicate key is an error, as it is for DVC. PyYAML silently uses the last one."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self.depth += 1  # checked while reading, because scanning thousands of open brackets takes minutes
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"it is nested deeper than {MAX_DEPTH} levels", self.peek_event().start_mark
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise _error(f"the key {str(key)[:40]} is not a plain value", key_node)
            if key in keys:
                raise _error(f"the key {key!r} occurs twice", key_node)
            keys.add(key)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """Return the document in `text`. Raises yaml.YAMLError, also for documents that are too large."""
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
    loader = UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_bounded(node)
        return loader.construct_document(node)
    except ValueError as error:  # an invalid date, a number with thousands of digits
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error
    finally:
        loader.dispose()


def _require_bounded(root: yaml.Node) -> None:
    """Count the values with aliases expanded, without building them."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise _error("an alias refers to a value that contains it", node)
        if len(above) > MAX_DEPTH:  # nested aliases can be deeper than the text
            raise _error(f"it is nested deeper than {MAX_DEPTH} levels", node)
        if id(node) not in sizes:
            here = (*above, id(node))
            inside = []
            if isinstance(node, yaml.SequenceNode):
                inside = node.value
            elif isinstance(node, yaml.MappingNode):
                inside = [one for pair in node.value for one in pair]
            sizes[id(node)] = 1 + sum(size(one, here) for one in inside)
        if sizes[id(node)] > MAX_VALUES:
            raise _error(f"it expands to more than {MAX_VALUES:,} values", node)
        return sizes[id(node)]

    size(root, ())


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
