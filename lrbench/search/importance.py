"""The importance of hyperparameters in a search."""

from collections.abc import Mapping, Sequence

import optuna

from lrbench.search.space import Space
from lrbench.spec import Value

MIN_TRIALS = 10  # Optuna compares the best tenth with the others


def importances(space: Space, trials: Sequence[tuple[Mapping[str, Value], float]]) -> dict[str, float]:
    """Return the importance of each hyperparameter for a score in the best tenth of the trials.

    The most important is the first. A trial is its values and its score. The importances sum to 1
    (PED-ANOVA, https://arxiv.org/abs/2304.10255). The result is empty if there are fewer than
    MIN_TRIALS trials, or if all scores are equal.
    """
    if len(trials) < MIN_TRIALS or len({score for _, score in trials}) == 1:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for values, score in trials:
        distributions = {key: space[key].distribution for key in values}
        study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=distributions, value=score))
    return optuna.importance.get_param_importances(study)
