"""From YAML to a TrialSpec: compose, apply changes, check. Every mistake in a config is reported here."""

import difflib
import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import platformdirs
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from lrbench.formula import Formula

ALLOWED_TARGETS = ("torch.optim", "lrbench.factors", "lrbench.models", "lrbench.schedules")
MAX_STEPS = 10_000_000


class ConfigError(ValueError):
    """Something that the user wrote cannot be: the message names the key, what was given and what is allowed."""


class Spec(BaseModel):
    """Plain data that goes through JSON unchanged."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Component(Spec):
    """A class or function from an allowed place, and its arguments."""

    name: str
    target: str = Field(alias="_target_")
    args: dict[str, Any]


class SchedulerSpec(Component):
    """`interval` is what the scheduler counts: optimizer steps or epochs."""

    interval: Literal["step", "epoch"]
    knobs: dict[str, float | int | bool | str]


class OptimizerSpec(Component):
    """`lr` is the peak rate of the weights; biases and norms learn at `bias_lr_factor` times the rate."""

    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    bias_lr_factor: PositiveFloat


class ModelSpec(Component):
    """A function of `lrbench.models`, or of the user's, that returns a network."""


class DataSpec(Spec):
    """Which images are trained on, and how they are augmented."""

    name: Literal["cifar10", "synthetic"]
    images: PositiveInt
    holdout_images: NonNegativeInt
    train_images: PositiveInt
    flip: Literal["alternating", "random", "none"]
    crop_padding: Annotated[int, Field(ge=0, le=16)]
    seed: NonNegativeInt


class TrainSpec(Spec):
    """Length and arithmetic of the run."""

    epochs: PositiveFloat
    batch_size: PositiveInt
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    eval_epochs: PositiveFloat
    test_curve: bool = False
    precision: Literal["auto", "float32", "bfloat16"]
    threads: PositiveInt | Literal["auto"]
    total_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    steps_per_epoch: PositiveInt


def _device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError("auto, cpu, cuda, or cuda:N for GPU number N is expected")
    return device


class TrialSpec(Spec):
    """Everything needed to repeat one training run."""

    scheduler: SchedulerSpec
    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec
    train: TrainSpec
    seed: NonNegativeInt
    device: Annotated[str, AfterValidator(_device)]
    phase: Literal["search", "final"]
    trial: NonNegativeInt | None = None  # of the scheduler's search; None for a run outside of a sweep
    sampled: dict[str, float | int | str | bool] = {}  # config keys that the search chose, and their values

    def key(self) -> str:
        """Return a file name for the run that no other spec shares."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:10]
        trial = "" if self.trial is None else f"-t{self.trial:04d}"
        return f"{self.scheduler.name}-{self.phase}{trial}-s{self.seed}-{digest}"


class Machine(Spec):
    """What a config leaves to the machine: the device that `auto` or `cuda` means here, and what it can do."""

    device: str
    gpus: int
    cores: int
    bfloat16: bool

    def runs_at_once(self, wanted: str) -> int:
        """Return how many runs of device `wanted` it trains best at once: one a GPU, or one a CPU core."""
        if self.device == "cpu":
            return self.cores
        return 1 if ":" in wanted else self.gpus


def settle(spec: TrialSpec, machine: Machine, runs_at_once: int = 1) -> TrialSpec:
    """Return `spec` with every `auto` decided, for so many runs at once."""
    precision, threads = spec.train.precision, spec.train.threads
    decided = {
        "precision": ("bfloat16" if machine.bfloat16 else "float32") if precision == "auto" else precision,
        "threads": max(1, machine.cores // runs_at_once) if threads == "auto" else threads,
    }
    return spec.model_copy(update={"device": machine.device, "train": spec.train.model_copy(update=decided)})


def load(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config, and check the user's keys and types against what the files have.

    To be called inside a Hydra program, or with Hydra initialised. Raises ConfigError, or Hydra's own errors.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [override for override in parsed if options(override.key_or_group)]
    known = compose(config_name, [override.input_line or "" for override in choices])
    given = known.copy()
    for override in parsed:
        if override not in choices:
            _apply(given, override)
    _check_keys(given, known, "")
    return given


def parse(cfg: DictConfig, sampled: Mapping[str, Any] | None = None, **labels: Any) -> TrialSpec:
    """Return the run that a config describes, after `sampled` (config key to value) is set in a copy of it.

    `labels` are fields of TrialSpec that take the place of the config's: seed, phase, trial.
    """
    cfg, sampled = cfg.copy(), dict(sampled or {})
    for key, value in sampled.items():
        OmegaConf.update(cfg, key, value)
    for section in ("scheduler", "optimizer", "model"):
        check_targets(OmegaConf.to_container(cfg[section]), section, (*ALLOWED_TARGETS, *cfg.allow))
    optimizer = validated(OptimizerSpec, _plain(cfg, "optimizer"), "optimizer")
    given = {key: value for key, value in _plain(cfg, "data").items() if key != "root"}  # the machine's, and not the run's
    data = validated(DataSpec, given | {"train_images": _train_images(cfg)}, "data")
    length = {"total_steps": _total_steps(cfg), "steps_per_epoch": _steps_per_epoch(cfg)}
    train = validated(TrainSpec, _plain(cfg, "train") | length, "train")
    scheduler = validated(SchedulerSpec, _plain(cfg, "scheduler"), "scheduler")
    model = validated(ModelSpec, _plain(cfg, "model"), "model")
    parts = {"scheduler": scheduler, "optimizer": optimizer, "model": model, "data": data, "train": train}
    return validated(TrialSpec, parts | {key: cfg[key] for key in ("seed", "device", "phase")} | {"sampled": sampled} | labels, "")


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], values: Mapping[str, Any], key: str) -> _Model:
    """Return `values` as a model; raises ConfigError with a line for each key that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for item in error.errors():
            where = ".".join(str(part) for part in (key, *item["loc"][:1]) if part)
            message = item["msg"].removeprefix("Value error, ").replace("Input", "it")
            problems[where] = f"{problems[where]}, or {message}" if where in problems else f"{where}={item['input']}: {message}"
        raise ConfigError("\n".join(problems.values())) from error


def part_bounds(fractions: Sequence[float | None], steps: int) -> list[int]:
    """Return where the parts of a sequence begin, and where the last one ends; one fraction may be None, for what is left.

    >>> part_bounds([0.1, None, 0.25], 40)
    [0, 4, 30, 40]
    """
    key, known = "scheduler.args.parts", [fraction for fraction in fractions if fraction is not None]
    if not all(isinstance(fraction, int | float) and 0 < fraction <= 1 for fraction in known):
        raise ConfigError(f"{key}: fractions {known}; each is above 0 and at most 1")
    rest = 1 - sum(known)
    if (
        len(known) < len(fractions) - 1
        or rest < -1e-9
        or (len(known) == len(fractions) and rest > 1e-9)
        or (len(known) < len(fractions) and rest <= 0)
    ):
        raise ConfigError(f"{key}: fractions {list(fractions)}; they make 1 together, where one may be null for what is left")
    whole = np.cumsum([0.0, *(rest if fraction is None else fraction for fraction in fractions)])
    bounds = [round(edge * steps) for edge in whole]
    if len(set(bounds)) < len(bounds):
        raise ConfigError(f"{key}: fractions {list(fractions)} of {steps} steps leave a part without a step")
    return bounds


def options(group: str) -> list[str]:
    """Return the names in a config group, such as `scheduler`."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: what it may have meant, and what is allowed."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(close)}?" if close else "."
    return f"{guess} Allowed: {', '.join(sorted(names)) or 'nothing'}"


def set_data_root(cfg: DictConfig) -> None:
    """Make the config's `data.root` that of this process and of those that it starts."""
    if cfg.data.root:
        os.environ["LRBENCH_DATA"] = str(cfg.data.root)


def data_root() -> Path:
    """Return the absolute folder of the data cache."""
    return Path(os.environ.get("LRBENCH_DATA") or platformdirs.user_cache_dir("lrbench")).expanduser().absolute()


def _apply(cfg: DictConfig, override: Override) -> None:
    """Make one change of the command line to a composed config, as Hydra would."""
    key = override.key_or_group
    if override.is_delete():
        parent, _, name = key.rpartition(".")
        with open_dict(cfg):
            OmegaConf.select(cfg, parent).pop(name)
    else:
        with open_dict(cfg):
            OmegaConf.update(cfg, key, override.value())


def _plain(cfg: DictConfig, section: str) -> dict[str, Any]:
    """Return a section of the config as plain data, resolved, without its search space."""
    try:
        plain = OmegaConf.to_container(cfg[section], resolve=True)
        return dict(_without_search(plain))
    except InterpolationResolutionError as error:
        written = OmegaConf.to_container(cfg, resolve=False)
        for name in re.findall(r"\w+", error.full_key or ""):
            written = written[int(name) if isinstance(written, list) else name]  # type: ignore[index]
        reason = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2]
        raise ConfigError(f"{error.full_key}={written}: {reason}") from error


def _without_search(node: Any) -> Any:
    """Return plain data without search spaces, those of a composite's members among them."""
    if isinstance(node, list):
        return [_without_search(item) for item in node]
    return {str(key): _without_search(value) for key, value in node.items() if key != "search"} if isinstance(node, dict) else node


def _check_keys(given: DictConfig | ListConfig, known: DictConfig | ListConfig, key: str) -> None:
    """Raise ConfigError for a key that the config files do not have, and for a value of another type."""
    names: Sequence[Any] = list(given) if isinstance(given, DictConfig) else range(len(given))
    for name in names:
        inner = f"{key}.{name}".lstrip(".")
        if isinstance(known, ListConfig):
            if not len(known):
                continue
            pattern = known[min(name, len(known) - 1)]  # any number of items, of the type of those in the file
        elif name in known:
            pattern = known[name]
        else:
            raise ConfigError(f"unknown key {inner}{nearest(str(name), [str(other) for other in known])}")
        if inner in _CHECKED_ELSEWHERE or OmegaConf.is_interpolation(given, name):
            continue
        _check_type(given[name], pattern, inner)


_CHECKED_ELSEWHERE = ("hydra", "scheduler.search", "optimizer.search", "scheduler.args.schedulers")
_NULLABLE = ("scheduler.args.", "data.train_images", "final_train_images")


def _check_type(given: Any, known: Any, key: str) -> None:
    if known is None or (given is None and key.startswith(_NULLABLE)):
        return
    for kind, name in ((DictConfig, "a mapping"), (ListConfig, "a list")):
        if isinstance(given, kind) != isinstance(known, kind):
            raise ConfigError(f"{key}={given}: {name if isinstance(known, kind) else 'a single value'} is expected, such as {known}")
    if isinstance(known, DictConfig | ListConfig):
        _check_keys(given, known, key)
        return
    number = isinstance(given, int | float) and not isinstance(given, bool)
    fits = {
        bool: isinstance(given, bool),
        int: number and isinstance(given, int),
        float: number,
        str: given is not None and not isinstance(given, bool),  # "auto" or a number, a formula or a constant
    }
    if not fits[type(known)]:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise ConfigError(f"{key}={'null' if given is None else given}: {names[type(known)]} is expected, such as {known}")


def check_targets(node: Any, section: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError for a target inside a section of a config that is in none of the allowed places."""
    for key, target in _targets(node, section):
        if not any(str(target).startswith(f"{prefix}.") for prefix in allowed):
            raise ConfigError(f"{key}={target}: a target begins with one of {', '.join(allowed)}; others are let in by allow=[…]")


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        inner = f"{key}.{name}".lstrip(".")
        if name == "_target_":
            yield inner, value
        yield from _targets(value, inner)


# What the resolvers of the YAML files mean. The unit is the scheduler's own: optimizer steps, or epochs with `interval: epoch`.


def _train_images(root: DictConfig) -> int:
    data = root.data
    available = data.images - data.holdout_images
    wanted = available if data.train_images is None else data.train_images
    if not 1 <= wanted <= available:
        raise ConfigError(f"data.train_images={wanted}: from 1 to {available}, as {data.holdout_images} of {data.images} are held out")
    return int(wanted)


def _steps_per_epoch(root: DictConfig) -> int:
    images, batch = _train_images(root), root.train.batch_size
    if not isinstance(batch, int) or not 1 <= batch <= images:
        raise ConfigError(f"train.batch_size={batch}: from 1 to the {images} training images")
    return images // batch


def _total_steps(root: DictConfig) -> int:
    epochs = root.train.epochs
    steps = round(epochs * _steps_per_epoch(root)) if math.isfinite(epochs) else 0
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(f"train.epochs={epochs}: {steps} optimizer steps; from 1 to {MAX_STEPS} are possible")
    return steps


def _length(root: DictConfig, node: Any) -> int:
    """Return how often the scheduler around `node` is stepped: in the run, or in its part of a sequence."""
    while node is not None:
        siblings = node._get_parent()
        if isinstance(node, DictConfig) and "fraction" in node and siblings is not None and siblings._key() == "parts":
            fractions = [part.fraction for part in siblings.values()]
            bounds = part_bounds(fractions, _length(root, siblings._get_parent()))
            number = list(siblings).index(node._key())
            return bounds[number + 1] - bounds[number]
        node = siblings
    return _total_steps(root) if root.scheduler.interval == "step" else math.ceil(root.train.epochs)


def _knobs(parent: Any) -> Mapping[str, float]:
    """Return the numbers that stand beside a value: the knobs and arguments of the scheduler around it."""
    while not (isinstance(parent, DictConfig) and "knobs" in parent):
        parent = parent._get_parent()
    args = {name: parent.args[name] for name in parent.args if not OmegaConf.is_interpolation(parent.args, name)}
    numbers = {**args, **parent.knobs}
    return {str(name): value for name, value in numbers.items() if isinstance(value, int | float)}


def _resolve_steps(fraction: float, _root_: DictConfig, _parent_: Any) -> int:
    """`${steps:0.25}`: that fraction of the run, rounded up to whole scheduler steps."""
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ConfigError(f"{fraction} is no fraction of the run: 0 to 1 is allowed")
    return math.ceil(fraction * _length(_root_, _parent_) - 1e-9)


def _resolve_epochs(epochs: float, _root_: DictConfig) -> int:
    """`${epochs:5}`: that many epochs in scheduler steps."""
    if not isinstance(epochs, int | float) or not 0 <= epochs <= _root_.train.epochs:
        raise ConfigError(f"{epochs} epochs do not lie in the run: 0 to train.epochs={_root_.train.epochs} is allowed")
    return round(epochs * (_steps_per_epoch(_root_) if _root_.scheduler.interval == "step" else 1))


def _resolve_rate(fraction: float, _root_: DictConfig) -> float:
    """`${rate:0.1}`: that fraction of the peak rate."""
    if not isinstance(fraction, int | float) or not math.isfinite(fraction) or fraction < 0:
        raise ConfigError(f"{fraction} is no fraction of the peak rate: a number from 0 is expected")
    return float(fraction * _root_.optimizer.lr)


def _resolve_formula(text: str, _root_: DictConfig, _parent_: Any) -> float:
    """`${formula:'1 - warmup'}`: a formula of the scheduler's knobs, its arguments, lr and scheduler_steps."""
    names = {**_knobs(_parent_), "lr": _root_.optimizer.lr, "scheduler_steps": _length(_root_, _parent_)}
    try:
        return Formula(text, names)(names)
    except ValueError as error:
        raise ConfigError(str(error)) from error


OmegaConf.register_new_resolver("steps", _resolve_steps, replace=True)
OmegaConf.register_new_resolver("epochs", _resolve_epochs, replace=True)
OmegaConf.register_new_resolver("rate", _resolve_rate, replace=True)
OmegaConf.register_new_resolver("formula", _resolve_formula, replace=True)
