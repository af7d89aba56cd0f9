"""Search a scheduler's hyperparameters: the only file that knows Optuna."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from pydantic import ConfigDict

from lrbench.formula import Formula
from lrbench.spec import ConfigError, Spec, validated

Value = float | int | str | bool
LOCK_FILE_SUFFIX = ".lock"  # Optuna's, after the journal's name
MIN_TRIALS = 10  # for importances: Optuna's compare the best tenth with the others

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Range(Spec):
    """`{low: 0.1, high: 1.0, log: true}`; whole numbers where both ends are."""

    model_config = ConfigDict(strict=False)
    low: float | int
    high: float | int
    log: bool = False
    when: str | None = None


class _Choice(Spec):
    """`{choices: [cos, linear]}`."""

    choices: list[Value]
    when: str | None = None


@dataclass(frozen=True)
class Parameter:
    """What may be drawn for a config key, and when: a formula of `names`, which stand for other keys or for numbers."""

    distribution: BaseDistribution
    when: str = ""
    names: Mapping[str, str | float] = field(default_factory=dict)

    def applies(self, values: Mapping[str, Value]) -> bool:
        """Return whether it is drawn beside what was drawn before it."""
        numbers = {name: float(values.get(of, 0)) if isinstance(of, str) else of for name, of in self.names.items()}
        return not self.when or bool(Formula(f"1 if {self.when} else 0", numbers)(numbers))

    def suggest(self, trial: optuna.Trial, key: str) -> Value:
        """Return what a trial draws."""
        drawn = self.distribution
        if isinstance(drawn, FloatDistribution):
            return trial.suggest_float(key, drawn.low, drawn.high, log=drawn.log)
        if isinstance(drawn, IntDistribution):
            return trial.suggest_int(key, drawn.low, drawn.high, log=drawn.log)
        assert isinstance(drawn, CategoricalDistribution)
        value: Value = trial.suggest_categorical(key, drawn.choices)  # type: ignore[assignment]  # _Choice has no other
        return value


Space = dict[str, Parameter]  # by config key


def space(cfg: DictConfig) -> Space:
    """Return the search space of a config: that of its optimizer, the peak rate among it, that of its scheduler, and those of its members.

    Raises ConfigError for a range or condition that is none, and where the config's own value lies outside.
    """
    found: Space = {}
    for section in ("optimizer", "scheduler"):
        for key, node in _components(OmegaConf.to_container(cfg[section]), section):
            _collect(node.get("search") or {}, key, f"{key}.search", cfg, found)
    return found


def _components(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a component of the config and those inside it, each with its key."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, inner in node.items():
            if name != "search":
                yield from _components(inner, f"{key}.{name}")


def describe(parameter: Parameter) -> str:
    """Return what may be drawn as a person would write it."""
    drawn = parameter.distribution
    if isinstance(drawn, CategoricalDistribution):
        text = ", ".join(map(str, drawn.choices))
    else:
        assert isinstance(drawn, FloatDistribution | IntDistribution)
        text = f"{drawn.low:g} to {drawn.high:g}{' (log)' if drawn.log else ''}"
    return f"{text} when {parameter.when}" if parameter.when else text


def is_log(parameter: Parameter) -> bool:
    """Return whether it is drawn on a logarithmic scale."""
    return bool(getattr(parameter.distribution, "log", False))


def sampler(component: Mapping[str, Any], seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return a sampler for one trial: one seeded alike at each start would repeat its first points. Raises ConfigError."""
    name = str(component["_target_"]).removeprefix("optuna.samplers.")
    kind = getattr(optuna.samplers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, optuna.samplers.BaseSampler)):
        raise ConfigError(f"sampler._target_={component['_target_']}: a class of optuna.samplers is expected")
    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return kind(**{"seed": trial_seed, **component["args"]})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampler={component['name']}: {error}") from error


def pruner(component: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """Return a pruner. Raises ConfigError."""
    name = str(component["_target_"]).removeprefix("optuna.pruners.")
    kind = getattr(optuna.pruners, name, None)
    if not (isinstance(kind, type) and issubclass(kind, optuna.pruners.BasePruner)):
        raise ConfigError(f"pruner._target_={component['_target_']}: a class of optuna.pruners is expected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return kind(**component["args"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"pruner={component['name']}: {error}") from error


class Watch:
    """Says at each evaluation of a trial whether it goes on: from the trials told when it was asked, and from nothing that came later."""

    def __init__(self, component: Mapping[str, Any], name: str, told: Sequence[FrozenTrial]) -> None:
        self._study = optuna.create_study(study_name=name, direction="maximize", pruner=pruner(component))
        self._study.add_trials(told)
        self._trial = self._study.ask()

    def __call__(self, evaluation: int, accuracy: float) -> bool:
        """Take in the accuracy of an evaluation, from 1, and return whether the run goes on."""
        self._trial.report(accuracy, evaluation)
        return not self._trial.should_prune()


Known = Mapping[str, Mapping[int, Mapping[str, Value]]]  # scheduler to trial to what was drawn for it, of the runs that have ended


def opened(journal: Path, spaces: Mapping[str, Space], known: Known, say: Callable[[str], None] = print) -> JournalStorage:
    """Open a journal, or make it. One that is damaged, or says other than the runs that have ended, is set aside, said so, and made anew.

    Nobody else may be at work on it. Nothing is lost: what is asked follows from what was told, and the results are told again.
    """
    _mend(journal, say)
    storage = _storage(journal)
    studies = [study for study in storage.get_all_studies() if study.study_name in spaces]
    for study in studies:
        name, trials = study.study_name, storage.get_all_trials(study._study_id, deepcopy=False)
        if not all(_agrees(trial, spaces[name], known.get(name, {}).get(trial.number, {})) for trial in trials):
            _set_aside(journal, "says other than the runs", say)
            return _storage(journal)
    return storage


def _agrees(trial: FrozenTrial, space: Space, known: Mapping[str, Value]) -> bool:
    """Return whether a trial can stand: it was drawn whole, as its runs say, and has not failed, as it is to be tried again."""
    if trial.state == TrialState.WAITING:
        return True
    drawn = {key for key, parameter in space.items() if parameter.applies(trial.params)}
    as_known = all(value == known.get(key, value) for key, value in trial.params.items())
    return trial.state != TrialState.FAIL and trial.params.keys() == drawn and as_known


def _storage(journal: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


def _mend(journal: Path, say: Callable[[str], None]) -> None:
    """Drop a line that a crash cut short, and set the file aside where there is more to it."""
    Path(f"{journal}{LOCK_FILE_SUFFIX}").unlink(missing_ok=True)  # of a process that was killed; Optuna would wait for 30 s
    if not journal.exists():
        return
    text = journal.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        for line in whole.splitlines():
            json.loads(line)
    except ValueError:
        _set_aside(journal, "is damaged", say)
        return
    if len(whole) < len(text):
        os.truncate(journal, len(whole))


def _set_aside(journal: Path, why: str, say: Callable[[str], None]) -> None:
    before = journal.replace(journal.with_name(f"{journal.name}.before"))
    say(f"{journal.name} {why}; it is made anew from the results; the old one is {before.name}")


class Study:
    """The search of one scheduler, by the number of the trial, from 0.

    What is asked is in `known`, or depends on the seed and on what was told before, in this order, and on nothing else.
    """

    def __init__(
        self,
        storage: JournalStorage,
        name: str,
        space: Space,
        known: Mapping[int, Mapping[str, Value]],
        sampler_config: Mapping[str, Any],
        seed: int,
    ) -> None:
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        self._space, self._known, self._sampler, self._seed = space, known, sampler_config, seed
        self._trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)
        self._common: IntersectionSearchSpace | None = None

    def ask(self, number: int) -> dict[str, Value]:
        """Return the values of a trial by config key; those of a trial that was asked before are kept."""
        if number < len(self._trials) and self._trials[number].state.is_finished():
            return dict(self._trials[number].params)
        self._study.sampler = self._sampler_of(number)
        if number < len(self._trials) and self._trials[number].state == TrialState.RUNNING:
            trial = optuna.Trial(self._study, self._trials[number]._trial_id)  # what it has drawn, it draws again
        else:
            if number in self._known and number == len(self._trials):
                self._study.enqueue_trial(dict(self._known[number]))
            trial = self._study.ask()
        assert trial.number == number
        values: dict[str, Value] = {}
        for key, parameter in self._space.items():
            if parameter.applies(values):
                values[key] = parameter.suggest(trial, key)
        self._trials[number:] = self._study.get_trials(deepcopy=False)[number:]
        return values

    def _sampler_of(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler of a trial, with what the one before found that all trials have in common: it looks at new ones only."""
        made = sampler(self._sampler, self._seed, number)
        if "_search_space" in vars(made):
            self._common = self._common or vars(made)["_search_space"]
            vars(made)["_search_space"] = self._common
        return made

    def tell(self, number: int, value: float | None, *, pruned: bool = False, evaluations: Sequence[float] = ()) -> None:
        """Tell the accuracy of a trial, None for one that failed, and those of its evaluations where a pruner is to know them."""
        if self._trials[number].state.is_finished():
            return
        trial = optuna.Trial(self._study, self._trials[number]._trial_id)
        for evaluation, accuracy in enumerate(evaluations, 1):
            trial.report(accuracy, evaluation)
        if pruned:
            self._trials[number] = self._study.tell(number, state=TrialState.PRUNED)
        else:
            self._trials[number] = self._study.tell(number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)

    def watch(self, component: Mapping[str, Any], told: int) -> Watch:
        """Return what decides over a run that was asked when so many trials had been told."""
        return Watch(component, self._study.study_name, self._trials[:told])

    def importances(self) -> dict[str, float]:
        """Return how much each hyperparameter mattered in the trials so far, as `importances` does."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return importances(self._space, [(trial.params, trial.value) for trial in complete if trial.value is not None])


def importances(space: Space, trials: Sequence[tuple[Mapping[str, Value], float]]) -> dict[str, float]:
    """Return how much each hyperparameter mattered for reaching the best tenth of the trials, the most important first.

    A trial is what was drawn for it, and its accuracy. The numbers make 1 together (PED-ANOVA, https://arxiv.org/abs/2304.10255). Nothing
    for fewer than MIN_TRIALS trials, or where all came to the same.
    """
    if len(trials) < MIN_TRIALS or len({value for _, value in trials}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    for values, accuracy in trials:
        drawn = {key: space[key].distribution for key in values}
        study.add_trial(optuna.trial.create_trial(params=dict(values), distributions=drawn, value=accuracy))
    return optuna.importance.get_param_importances(study)


def _collect(node: Any, key: str, written: str, cfg: DictConfig, found: Space) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{written}={node}: {{low: …, high: …}} or {{choices: […]}} is expected")
    if not {"choices", "low", "high"} & node.keys():
        for name, inner in node.items():
            _collect(inner, f"{key}.{name}", f"{written}.{name}", cfg, found)
        return
    given: _Choice | _Range = validated(_Choice, node, written) if "choices" in node else validated(_Range, node, written)
    drawn = CategoricalDistribution(given.choices) if isinstance(given, _Choice) else _distribution(given, written)
    value = OmegaConf.select(cfg, key)
    if value is None or not drawn._contains(drawn.to_internal_repr(value)):
        raise ConfigError(f"{key}={value}: outside of what is searched, {describe(Parameter(drawn))}; change {written} too")
    names = _beside(key, cfg, found)
    try:
        Formula(given.when or "1", names)
    except ValueError as error:
        raise ConfigError(f"{written}.when={given.when}: {error}") from error
    found[key] = Parameter(drawn, given.when or "", names)


def _beside(key: str, cfg: DictConfig, found: Space) -> dict[str, str | float]:
    """Return what a condition may name: the knobs and arguments of the same scheduler, those searched before it by their keys."""
    component = re.sub(r"\.(knobs|args)\.[^.]+$", "", key)
    names: dict[str, str | float] = {}
    for section in ("args", "knobs"):
        for name in OmegaConf.select(cfg, f"{component}.{section}", default={}):
            inner = f"{component}.{section}.{name}"
            value = OmegaConf.select(cfg, inner)
            if inner in found:
                names[name] = inner
            elif isinstance(value, int | float) and inner != key:
                names[name] = float(value)
    return names


def _distribution(given: _Range, written: str) -> BaseDistribution:
    try:
        if isinstance(given.low, int) and isinstance(given.high, int):
            return IntDistribution(given.low, given.high, log=given.log)
        return FloatDistribution(float(given.low), float(given.high), log=given.log)
    except ValueError as error:
        raise ConfigError(f"{written}={given.model_dump()}: {error}") from error
