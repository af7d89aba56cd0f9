"""The networks: each is a function of a data set and the config's arguments.

Each function returns a new module with initial weights. Configs and committed results name them,
such as `lrbench.models.fast`.
"""

from lrbench.models.airbench import fast
from lrbench.models.resnet import resnet18, resnet20

__all__ = ["fast", "resnet18", "resnet20"]
