"""One training run as plain data, with everything that is needed to repeat it.

All rooms of lrbench describe runs with these types.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

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
    model_validator,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_STEPS = 10_000_000
Value = float | int | str | bool  # of a hyperparameter
PEAK_RATE = "optimizer.lr"  # the config key
# The job of a run in a sweep. `search` scores a trial, and `confirm` scores it again with another
# seed. `final` is a test run of a chosen configuration. `half_rate` and `double_rate` are test runs
# of the same configuration at half and at twice its peak rate.
Phase = Literal["search", "confirm", "final", "half_rate", "double_rate"]
NEIGHBOURS: Mapping[Phase, float] = {"half_rate": 0.5, "double_rate": 2.0}  # factors of the chosen peak rate
_MESSAGES = {  # by type of pydantic's errors, if its own message needs other words
    "missing": "must be set",
    "extra_forbidden": "unknown key",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
}


class ConfigError(ValueError):
    """The user's configuration is invalid. The message names the key, its value and the rule."""


class PlainData(BaseModel):
    """Plain data that goes through JSON unchanged."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Component(PlainData):
    """A class or function whose `_target_` has an allowed prefix, and its arguments."""

    name: str
    target: str = Field(alias="_target_")
    args: dict[str, Any]


class SchedulerSpec(Component):
    """The scheduler of a run. `interval` is the unit of its steps: optimizer steps or epochs."""

    interval: Literal["step", "epoch"]
    knobs: dict[str, float | int | bool | str]


class OptimizerSpec(Component):
    """The optimizer of a run.

    `lr` is the peak learning rate of the weights. Biases and norms learn at `bias_lr_factor` times
    the learning rate.
    """

    lr: PositiveFloat
    weight_decay: NonNegativeFloat
    bias_lr_factor: PositiveFloat


class ModelSpec(Component):
    """A function that returns a network, from `lrbench.models` or from the user's own code."""


class DataSpec(Component):
    """The images of a run and their augmentation.

    `_target_` is a function that returns an `ImageSource`.
    """

    args: dict[str, Any] = {}
    images: PositiveInt
    holdout_images: NonNegativeInt
    train_images: PositiveInt
    flip: Literal["alternating", "random", "none"]
    crop_padding: NonNegativeInt
    seed: NonNegativeInt

    @staticmethod
    def default_target(name: str) -> str:
        """Return the target of a data set that lrbench itself provides."""
        return f"lrbench.data.{name}.source"

    @model_validator(mode="before")
    @classmethod
    def _target_of_older_runs(cls, values: Any) -> Any:
        """Add the target to runs of lrbench 0.1, which had only its own data sets."""
        if isinstance(values, dict) and not {"target", "_target_"} & values.keys():
            return {"_target_": cls.default_target(str(values.get("name"))), **values}
        return values


class TrainSpec(PlainData):
    """The length and the arithmetic of a run."""

    epochs: PositiveFloat
    batch_size: PositiveInt
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    eval_epochs: PositiveFloat
    test_curve: bool = False
    test_views: Literal[1, 2, 6] = 1
    average: Literal["none", "lookahead", "ema"] = "none"
    precision: Literal["auto", "float32", "bfloat16"]
    threads: PositiveInt | Literal["auto"]
    graph: Literal["auto", "off"] = "auto"
    compile: Literal["auto", "off", "on"] = "auto"
    total_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    steps_per_epoch: PositiveInt


# Keys of a run's config that lrbench 0.1 did not have, and the values that it trained with.
NEWER_SETTINGS: dict[str, Value] = {
    "train.graph": "auto",
    "train.compile": "auto",
    "train.test_views": 1,
    "train.average": "none",
    "model.args.freeze_stem_bias": 1.0,
}


class DeviceInfo(PlainData):
    """The device that `auto` or `cuda` means on this machine, and its abilities."""

    device: str
    gpus: int
    cores: int
    bfloat16: bool

    def runs_at_once(self, wanted: str) -> int:
        """Return how many runs to train at once: one per GPU or one per CPU core.

        `wanted` is the device of the config. A single GPU such as `cuda:1` trains one run at once.
        """
        if self.device == "cpu":
            return self.cores
        return 1 if ":" in wanted else self.gpus

    def gpu_of_worker(self, number: int, wanted: str) -> int | None:
        """Return the number of the only GPU that a worker process may see, None if it may see all.

        `number` counts the workers from 0. `wanted` is the device of the config.
        """
        return None if self.device == "cpu" or ":" in wanted else number % self.gpus


def _device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError("must be auto, cpu, cuda or cuda:N, where N is the number of a GPU")
    return device


class TrialSpec(PlainData):
    """Everything needed to repeat one training run."""

    scheduler: SchedulerSpec
    optimizer: OptimizerSpec
    model: ModelSpec
    data: DataSpec
    train: TrainSpec
    seed: NonNegativeInt
    device: Annotated[str, AfterValidator(_device)]
    phase: Phase
    search: NonNegativeInt = 0  # the number of the search; a sweep has several, independent of each other
    trial: NonNegativeInt | None = None  # its number in the search; None outside of a sweep
    sampled: dict[str, Value] = {}  # the values that the search chose, by config key

    @property
    def trial_number(self) -> int:
        """The number of the trial, 0 for the default configuration and for a run outside of a
        sweep.
        """
        return self.trial or 0

    @property
    def is_scored_on_test(self) -> bool:
        """True if the run scores the test images. A search never uses them."""
        return self.phase not in ("search", "confirm")

    def name(self) -> str:
        """Return the name of the run for people.

        Examples are `cosine search 2 trial 3 seed 4000` and `cosine search 2 final trial 3 seed
        5000`. The first search, 0, has no number.
        """
        numbered = f" search {self.search}" if self.search else ""
        phase = "" if self.search and self.phase == "search" else f" {self.phase}"
        trial = "" if self.trial is None else f" trial {self.trial}"
        return f"{self.scheduler.name}{numbered}{phase}{trial} seed {self.seed}"

    def key(self) -> str:
        """Return a file name that is unique to this spec."""
        # Keys of lrbench 0.1 stay the same: what its specs did not have is left out if it has the
        # value that 0.1 trained with.
        own_data = self.data.target == DataSpec.default_target(self.data.name) and not self.data.args
        described = self.model_dump_json(
            exclude={
                "data": {"target", "args"} if own_data else set(),
                "train": _as_before("train", dict(self.train)),
                "model": {"args": _as_before("model.args", self.model.args)},
                "search": self.search == 0,
            }
        )
        digest = hashlib.sha256(described.encode()).hexdigest()[:10]
        search = f"-{self.search}" if self.search else ""
        trial = "" if self.trial is None else f"-t{self.trial:04d}"
        return f"{self.scheduler.name}-{self.phase}{search}{trial}-s{self.seed}-{digest}"

    def resolved(self, device: DeviceInfo, runs_at_once: int = 1) -> "TrialSpec":
        """Return the spec without `auto`: on this machine, with `runs_at_once` runs at once."""
        precision, threads = self.train.precision, self.train.threads
        decided = {
            "precision": ("bfloat16" if device.bfloat16 else "float32") if precision == "auto" else precision,
            "threads": max(1, device.cores // runs_at_once) if threads == "auto" else threads,
        }
        return self.model_copy(update={"device": device.device, "train": self.train.model_copy(update=decided)})


def _as_before(section: str, values: Mapping[str, Any]) -> set[str]:
    """Return the names in a section of NEWER_SETTINGS that have the values of lrbench 0.1."""
    names = {name for name in values if f"{section}.{name}" in NEWER_SETTINGS}
    return {name for name in names if values[name] == NEWER_SETTINGS[f"{section}.{name}"]}


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], values: Mapping[str, Any], key: str) -> _Model:
    """Return `values`, the config at `key`, as a model.

    Raises ConfigError with a line for each invalid key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems: dict[str, str] = {}
        for item in error.errors():
            name = ".".join(str(part) for part in (key, *item["loc"][:1]) if part)
            message = _problem(item)
            if name in problems:  # none of the types of a union fits
                problems[name] += f" or {message.removeprefix('must be ')}"
            elif item["type"] == "missing":
                problems[name] = f"{name}: {message}"
            else:
                problems[name] = f"{name}={item['input']}: {message}"
        raise ConfigError("\n".join(problems.values())) from error


def _problem(item: "ErrorDetails") -> str:
    """Return the message of an error of pydantic in the style of lrbench."""
    if item["type"] in _MESSAGES:
        return _MESSAGES[item["type"]]
    return item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
