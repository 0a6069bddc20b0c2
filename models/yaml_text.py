"""YAML text to plain values, strictly: no key twice, and a limit to what a few lines may stand for. Pure."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 4 << 20  # 100,000 class names of 40 characters
MAX_VALUES = 1_000_000  # aliases counted as often as they stand for something: ten lines can stand for 10¹⁰ values
MAX_DEPTH = 100


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key named twice is an error, as it is to DVC; PyYAML takes the last one without a word."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        self.depth += 1  # while it is read: scanning thousands of open brackets alone takes minutes
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
                raise _error(f"the key {str(key)[:40]} is no plain value", key_node)
            if key in keys:
                raise _error(f"the key {key!r} stands there twice", key_node)
            keys.add(key)
        return super().construct_mapping(node, deep)


def load(text: str) -> Any:
    """The one document in `text`. Raises yaml.YAMLError, with the line where there is one, also for what is too large."""
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}")
    loader = UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _require_bounded(node)
        return loader.construct_document(node)
    except ValueError as error:  # a date that is none, a number with thousands of digits
        raise yaml.YAMLError(f"a value can't be read: {error}") from error
    finally:
        loader.dispose()


def _require_bounded(root: yaml.Node) -> None:
    """Count what the nodes stand for, every alias anew, without building it."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, above: tuple[int, ...]) -> int:
        if id(node) in above:
            raise _error("an alias stands for something that it is part of", node)
        if len(above) > MAX_DEPTH:  # one alias in another can be deeper than the text
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
            raise _error(f"with its aliases it stands for more than {MAX_VALUES:,} values", node)
        return sizes[id(node)]

    size(root, ())


def _error(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
