"""TrialSpec to a table of learning rates. The only room that knows torch's schedulers.

Configs and committed results name `lrbench.schedules.sequence` and `lrbench.schedules.product`.
"""

from lrbench.schedules.composites import product, sequence

__all__ = ["product", "sequence"]
