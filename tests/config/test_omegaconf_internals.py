from omegaconf import OmegaConf

from lrbench.config.omegaconf_internals import key_of, parent_of


def test_a_node_knows_its_parent_and_its_key() -> None:
    root = OmegaConf.create({"parts": {"first": {"fraction": 0.1}}, "items": [{"a": 1}]})
    assert parent_of(root) is None
    assert key_of(root) is None
    assert parent_of(root.parts.first) is root.parts
    assert key_of(root.parts.first) == "first"
    assert key_of(root["items"][0]) == 0
