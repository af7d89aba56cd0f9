"""Private attributes of OmegaConf: the place of a node in its tree, which has no public interface.

`${steps:…}` and `${formula:…}` depend on the scheduler around them, so their resolvers climb the
tree. tests/config/test_omegaconf_internals.py fails if a new version of OmegaConf changes these
attributes.
"""

from typing import Any


def parent_of(node: Any) -> Any:
    """Return the container that holds a node, None for the root."""
    return node._get_parent()


def key_of(node: Any) -> Any:
    """Return the key or the index of a node in its container, None for the root."""
    return node._key()
