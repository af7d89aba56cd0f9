"""Checks of a network's arguments."""

from lrbench.spec import ConfigError


def check_argument(name: str, value: object, valid: bool, rule: str) -> None:
    """Raise ConfigError with the argument's key and the rule unless the value is valid."""
    if not valid:
        raise ConfigError(f"model.args.{name}={value}: must be {rule}")
