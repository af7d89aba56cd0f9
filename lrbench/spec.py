"""One training run as plain data: everything needed to repeat it. Every other module speaks of runs in these types."""

import hashlib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

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

    def settled(self, machine: Machine, runs_at_once: int = 1) -> "TrialSpec":
        """Return the spec with every `auto` decided, for so many runs at once."""
        precision, threads = self.train.precision, self.train.threads
        decided = {
            "precision": ("bfloat16" if machine.bfloat16 else "float32") if precision == "auto" else precision,
            "threads": max(1, machine.cores // runs_at_once) if threads == "auto" else threads,
        }
        return self.model_copy(update={"device": machine.device, "train": self.train.model_copy(update=decided)})


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
