"""The search of one scheduler: an Optuna study that is asked for trials and told their scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from lrbench.search.components import build_pruner, build_sampler
from lrbench.search.space import Space
from lrbench.spec import Value


class PruningMonitor:
    """Decides at each evaluation of a run whether it continues.

    It uses only the trials that were finished when this one was sampled, so the result does not
    depend on timing.
    """

    def __init__(self, component: Mapping[str, Any], name: str, finished: Sequence[FrozenTrial]) -> None:
        self._study = optuna.create_study(study_name=name, direction="maximize", pruner=build_pruner(component))
        self._study.add_trials(finished)
        self._trial = self._study.ask()

    def __call__(self, evaluation: int, accuracy: float) -> bool:
        """Record the accuracy of an evaluation, from 1. Return True if the run continues."""
        self._trial.report(accuracy, evaluation)
        return not self._trial.should_prune()


class Study:
    """The trials of one scheduler, numbered from 0.

    `known` has the values of trials that are fixed: those with results, and the default
    configuration. The values of any other trial depend only on the seed and on the scores of the
    trials that were finished when it was asked for, in the order of the trials.
    """

    def __init__(
        self,
        storage: JournalStorage,
        name: str,
        space: Space,
        known: Mapping[int, Mapping[str, Value]],
        sampler: Mapping[str, Any],
        seed: int,
    ) -> None:
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        self._storage, self._id = storage, storage.get_study_id_from_name(name)
        self._space, self._known, self._sampler, self._seed = space, known, sampler, seed
        self._trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)

    def ask(self, number: int, finished: int | None = None) -> dict[str, Value]:
        """Return the values of a trial by config key. A trial keeps its values.

        The sampler sees the scores of the first `finished` trials. An earlier start may have told
        the study more of them; then the trial is the same as without that start.
        """
        if number < len(self._trials) and self._trials[number].state.is_finished():
            return dict(self._trials[number].params)
        self._study.sampler = build_sampler(self._sampler, self._seed, number)
        if number < len(self._trials) and self._trials[number].state == TrialState.RUNNING:
            trial = self._open_trial(number)  # suggests the stored values again
        else:
            if number in self._known and number == len(self._trials):
                self._study.enqueue_trial(dict(self._known[number]))
            elif finished is not None and any(trial.state.is_finished() for trial in self._trials[finished:]):
                self._study.enqueue_trial(self._sampled_after(number, finished))
            trial = self._study.ask()
        assert trial.number == number
        values = self._suggest(trial)
        self._trials[number:] = self._study.get_trials(deepcopy=False)[number:]
        return values

    def _suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for key, parameter in self._space.items():
            if parameter.applies(values):
                values[key] = parameter.suggest(trial, key)
        return values

    def _sampled_after(self, number: int, finished: int) -> dict[str, Value]:
        """Return the values that the sampler draws while only the first trials are finished."""
        study = optuna.create_study(direction="maximize", sampler=build_sampler(self._sampler, self._seed, number))
        study.add_trials(self._trials[:finished])
        for trial in self._trials[finished:number]:
            running = create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
            study.add_trial(running)
        return self._suggest(study.ask())

    def tell(
        self, number: int, score: float | None, *, pruned: bool = False, evaluations: Sequence[float] = ()
    ) -> None:
        """Record the score of a trial, None if it failed.

        `evaluations` are the accuracies that a pruner compares. A finished trial keeps its score.
        """
        if self._trials[number].state.is_finished():
            return
        trial = self._open_trial(number)
        for evaluation, accuracy in enumerate(evaluations, 1):
            trial.report(accuracy, evaluation)
        if pruned:
            self._trials[number] = self._study.tell(number, state=TrialState.PRUNED)
        else:
            state = TrialState.FAIL if score is None else TrialState.COMPLETE
            self._trials[number] = self._study.tell(number, score, state=state)

    def trials(self) -> list[FrozenTrial]:
        """Return the trials so far, in their order."""
        return list(self._trials)

    def pruning_monitor(self, component: Mapping[str, Any], finished: int) -> PruningMonitor:
        """Return the pruning callback of a run.

        It compares the run with the first `finished` trials.
        """
        return PruningMonitor(component, self._study.study_name, self._trials[:finished])

    def scored_trials(self) -> list[tuple[Mapping[str, Value], float]]:
        """Return the values and the score of each complete trial so far."""
        complete = [trial for trial in self._trials if trial.state == TrialState.COMPLETE]
        return [(trial.params, trial.value) for trial in complete if trial.value is not None]

    def _open_trial(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(self._id, number))
