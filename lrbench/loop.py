"""Train one network: `train_one` is the only training loop."""

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrbench import checkpoints, checks, data, schedules
from lrbench.config import ConfigError, Machine, TrialSpec, settle
from lrbench.results import Curve, Points, TrialResult, thinned

LOSS_POINTS = 100  # of the training loss; each is the mean over the steps since the one before
EVAL_BATCH = 500
REFRESH_IMAGES = 4000  # on which BatchNorm's statistics are taken for the averaged weights of Schedule-Free
PROGRESS_SECONDS = 0.2
LIVE_AFTER_SECONDS = 30.0  # of training, from when on a run's curves are told while they grow
LIVE_EVERY_SECONDS = 5.0
WARM_UP_STEPS, TIMED_STEPS = 3, 30  # of a measurement of the pace


GoesOn = Callable[[int, float], bool]


@dataclass(frozen=True)
class Progress:
    """Where a run stands; and now and then, where it lasts, what is new of its curves."""

    epoch: float
    lr: float
    accuracy: float | None
    points: Points


def train_one(
    spec: TrialSpec,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    goes_on: GoesOn | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
) -> TrialResult:
    """Train the network that `spec` describes. The same spec gives the same result, bit by bit on one kind of CPU.

    `goes_on` is asked at each evaluation but the last, from 1, with its accuracy; where it says no, the run is pruned.
    A run keeps its state in the file `checkpoint`, anew every `checkpoint_seconds`, and goes on from one that is there.
    Raises ConfigError where the spec cannot be run here.
    """
    spec = settle(spec, machine(spec.device))
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    schedule = schedules.start(spec)
    run = _Run(spec, data.load(spec.data, torch.device(spec.device)))
    record = _Record(spec.train.total_steps)
    if checkpoint and (state := checkpoints.load(checkpoint)):
        _restore(state, run, record, schedule)
        if goes_on:
            for evaluation, accuracy in record.evaluations():
                goes_on(evaluation, accuracy)
    began, shown, saved = time.perf_counter() - record.seconds, 0.0, time.perf_counter()
    told = saved + LIVE_AFTER_SECONDS - LIVE_EVERY_SECONDS
    for step, (images, labels) in enumerate(run.batches(record.steps), record.steps):
        run.set_rate(schedule, step)
        record.losses.append(run.step(images, labels))
        record.add_rate(run.rate())
        if record.steps in run.eval_steps:
            _evaluate(run, record, goes_on)
            if record.state != "finished":
                break
            schedule.observe(record.latest_loss())
        now = time.perf_counter()
        if now - shown > PROGRESS_SECONDS or record.steps in run.eval_steps:
            points = record.new_points() if now - told > LIVE_EVERY_SECONDS else {}
            shown, told = now, now if points else told
            on_progress(Progress(record.steps / spec.train.steps_per_epoch, record.rate, record.latest("val/accuracy"), points))
        if checkpoint and now - saved > checkpoint_seconds:
            record.seconds = now - began
            with suppress(OSError):  # a full disk: the run may end before it matters
                checkpoints.save(checkpoint, _state(run, record, schedule))
            saved = time.perf_counter()
    train_seconds = time.perf_counter() - began - record.eval_seconds
    if spec.phase == "final" and record.state == "finished":
        record.add("test", run)
    if checkpoint:
        checkpoints.remove(checkpoint)
    return TrialResult(
        spec=spec,
        state=record.state,
        reason=record.reason,
        curves=record.curves(),
        train_seconds=train_seconds,
        eval_seconds=record.eval_seconds,
        environment=environment(run.device),
    )


def _evaluate(run: "_Run", record: "_Record", goes_on: GoesOn | None) -> None:
    """Record the losses since the last evaluation and how the network does now; end the run where it has diverged or is pruned."""
    train, last = run.spec.train, record.steps == run.spec.train.total_steps
    record.flush_losses()
    if record.state == "finished" and len(run.data.holdout):
        record.add("val", run)
    if record.state == "finished" and train.test_curve and run.spec.phase == "final" and not last:
        record.add("test", run)
    if record.state == "finished" and not run.weights_are_finite():
        record.end("diverged", f"a weight is not finite after {record.steps} steps")
    if record.state == "finished" and not last and goes_on and not goes_on(*record.evaluations()[-1]):
        record.end("pruned", f"the pruner stopped it after {record.steps} steps")


def _state(run: "_Run", record: "_Record", schedule: schedules.Schedule | schedules.LiveSchedule) -> dict[str, Any]:
    return {
        "net": run.net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "generator": run.epoch_state(record.steps),
        "record": record.state_dict(),
        "schedule": schedule.state(),
    }


def _restore(state: Mapping[str, Any], run: "_Run", record: "_Record", schedule: schedules.Schedule | schedules.LiveSchedule) -> None:
    run.net.load_state_dict(state["net"])
    for optimizer, known in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(known)
    run.generator_state = state["generator"]
    record.load_state_dict(state["record"], run.device)
    schedule.restore(state["schedule"])


@dataclass(frozen=True)
class Pace:
    """Seconds of an optimizer step, and of the evaluation of an image."""

    step: float
    image: float


def pace(spec: TrialSpec) -> Pace:
    """Return how fast runs such as the settled `spec` are here, from some steps on blank images."""
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    blank = _blank(max(spec.train.batch_size, EVAL_BATCH))
    run = _Run(spec.model_copy(update={"train": spec.train.model_copy(update={"total_steps": WARM_UP_STEPS + TIMED_STEPS})}), blank)
    for step, (images, labels) in enumerate(run.batches()):
        if step == WARM_UP_STEPS:
            run.evaluate(blank.test)  # its last line waits for the device
            started = time.perf_counter()
        run.step(images, labels)
    run.evaluate(blank.test)
    stepped = time.perf_counter()
    run.evaluate(blank.test)
    evaluated = time.perf_counter() - stepped
    return Pace((stepped - started - evaluated) / TIMED_STEPS, evaluated / len(blank.test))


def examine(specs: Sequence[TrialSpec], say: Callable[[str], None]) -> Machine:
    """Check that runs can be trained here as `check` does, and see to their data. Raises ConfigError."""
    found = check(specs, say)
    data.prepare(specs[0].data, say)
    return found


def check(specs: Sequence[TrialSpec], say: Callable[[str], None]) -> Machine:
    """Check that runs can be trained here, say what of their schedules may surprise, and return what this machine is.

    The specs differ in nothing but their schedulers. Raises ConfigError where a table, the network or the device cannot be had.
    """
    tables = [schedules.table(spec) for spec in specs]
    found = machine(specs[0].device)
    net = _network(specs[0], _blank(64))
    for spec, table in zip(specs, tables, strict=True):
        _optimizers(spec, net)
        for finding in checks.findings(spec, table):
            say(f"{spec.scheduler.name}: {finding}")
    return found


def _blank(images: int) -> data.Dataset:
    split = data.Split(torch.zeros(images, 32, 32, 3, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64))
    return data.Dataset(split, split, split)


def machine(wanted: str) -> Machine:
    """Return what device `wanted` (auto, cpu, cuda, cuda:1) means here. Raises ConfigError for a GPU that is not there."""
    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        features = torch.cpu.get_capabilities()  # without the instructions, bfloat16 is ten times slower than float32
        return Machine(device="cpu", gpus=gpus, cores=cores, bfloat16=bool(features.get("avx512_bf16") or features.get("amx_bf16")))
    number = int(wanted.partition(":")[2] or 0)
    if number >= gpus:
        raise ConfigError(f"device={wanted}: torch sees {gpus} GPUs here; device=cpu or device=auto will do")
    return Machine(device=f"cuda:{number}", gpus=gpus, cores=cores, bfloat16=torch.cuda.get_device_capability(number) >= (8, 0))


def environment(device: torch.device) -> dict[str, str]:
    """Return what a result depends on beside its spec."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "torch": torch.__version__, "python": platform.python_version(), "platform": platform.platform()}


class _Run:
    """A network, its optimizers and its data on the device: what `train_one` steps."""

    def __init__(self, spec: TrialSpec, dataset: data.Dataset) -> None:
        self.spec, self.device, self.data = spec, torch.device(spec.device), dataset
        self.normalize = data.Normalize(self.device)
        self.net = _network(spec, self.data).to(self.device).to(memory_format=torch.channels_last)
        self.optimizers = _optimizers(spec, self.net)
        self.generator = generator(spec.seed, "batches")
        self.generator_state: Tensor | None = None  # at the beginning of the epoch
        self.averages = spec.scheduler.target == schedules.SCHEDULE_FREE
        epochs, per_epoch, total = spec.train.eval_epochs, spec.train.steps_per_epoch, spec.train.total_steps
        evaluations = range(1, math.ceil(total / (epochs * per_epoch)) + 1)
        self.eval_steps = {min(total, max(1, round(number * epochs * per_epoch))) for number in evaluations} | {total}

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of each step of the run, from step `start` on."""
        train = self.spec.train
        source = data.Batches(self.data.train, self.spec.data, train.batch_size, self.generator)
        if self.generator_state is not None:
            self.generator.set_state(self.generator_state)
        left, (epoch, first) = train.total_steps - start, divmod(start, train.steps_per_epoch)
        while left:
            self.generator_state = self.generator.get_state()
            for batch in source.epoch(epoch, first):
                yield batch
                left -= 1
                if not left:
                    return
            epoch, first = epoch + 1, 0

    def epoch_state(self, steps: int) -> Tensor | None:
        """Return the state of the generator at the beginning of the epoch that the step after `steps` is in."""
        return self.generator_state if steps % self.spec.train.steps_per_epoch else self.generator.get_state()

    def set_rate(self, schedule: schedules.Schedule | schedules.LiveSchedule, step: int) -> None:
        """Give the optimizers the rate of a step, and the momentum where the schedule has one."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group["lr_factor"]
                if schedule.momentum is not None:
                    _set_momentum(group, float(schedule.momentum[step]))

    def rate(self) -> float:
        """Return the rate that the optimizer used in its last step, for the weights."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make one optimizer step and return its loss, a tensor () on the device."""
        self.net.train()
        if self.averages:
            for optimizer in self.optimizers:
                optimizer.train()  # type: ignore[attr-defined]  # schedulefree's
        with self._autocast():
            loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.spec.train.label_smoothing)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.detach()

    def weights_are_finite(self) -> bool:
        """Return whether no weight is infinite or none: behind a ReLU, the loss may not show one."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.net.parameters()]).all())

    def evaluate(self, split: data.Split) -> tuple[float, float]:
        """Return the mean loss and the accuracy on `split`."""
        if self.averages and self.net.training:
            self._go_to_average()
        self.net.eval()
        return self._score(split)

    def _go_to_average(self) -> None:
        """Put the averaged weights of Schedule-Free into the network, and the statistics that BatchNorm has there."""
        for optimizer in self.optimizers:
            optimizer.eval()  # type: ignore[attr-defined]  # schedulefree's
        images = torch.split(self.data.train.images[:REFRESH_IMAGES], self.spec.train.batch_size)
        with self._autocast(), torch.no_grad():
            update_bn(map(self.normalize, images), self.net)

    @torch.inference_mode()
    def _score(self, split: data.Split) -> tuple[float, float]:
        loss, correct = torch.zeros(2, dtype=torch.float64, device=self.device)
        for start in range(0, len(split), EVAL_BATCH):
            labels = split.labels[start : start + EVAL_BATCH]
            with self._autocast():
                outputs = self.net(self.normalize(split.images[start : start + EVAL_BATCH])).float()
            loss += F.cross_entropy(outputs, labels, reduction="sum")
            correct += (outputs.argmax(1) == labels).sum()
        return loss.item() / len(split), correct.item() / len(split)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.spec.train.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class _Record:
    """The curves of a run as they grow. Losses stay on the device until an evaluation, so that training never waits for them."""

    def __init__(self, total_steps: int) -> None:
        self.losses: list[Tensor] = []
        self.steps, self.rate = 0, 0.0
        self.seconds, self.eval_seconds = 0.0, 0.0  # at the last checkpoint, evaluations included; and of the evaluations so far
        self.state: Literal["finished", "diverged", "pruned"] = "finished"
        self.reason = ""
        self._block = max(1, math.ceil(total_steps / LOSS_POINTS))
        self._kept_steps = set(thinned(total_steps))
        self._points: Points = {"lr": [], "train/loss": []}
        self._told: dict[str, int] = {}

    def add_rate(self, rate: float) -> None:
        """Take in the rate of the next step."""
        self.rate = rate
        if self.steps in self._kept_steps:
            self._add(self.steps, "lr", rate)
        self.steps += 1

    def flush_losses(self) -> None:
        """Take the losses off the device; end the run where one is not finite."""
        losses = torch.stack(self.losses).double().cpu().numpy()
        self.losses.clear()
        first = self.steps - len(losses)
        for start in range(0, len(losses), self._block):
            block = losses[start : start + self._block]
            if not np.isfinite(block).all():
                self.end("diverged", f"the loss is not finite after {self.steps} steps")
                return
            self._add(first + start + len(block), "train/loss", float(block.mean()))

    def add(self, part: Literal["val", "test"], run: "_Run") -> None:
        """Evaluate the run on its validation or test images; end it where the loss is not finite."""
        began = time.perf_counter()
        loss, accuracy = run.evaluate(run.data.holdout if part == "val" else run.data.test)
        self.eval_seconds += time.perf_counter() - began
        if not math.isfinite(loss):
            self.end("diverged", f"the {part} loss is not finite after {self.steps} steps")
            return
        self._add(self.steps, f"{part}/loss", loss)
        self._add(self.steps, f"{part}/accuracy", accuracy)

    def end(self, state: Literal["diverged", "pruned"], reason: str) -> None:
        """Take in that the run ends early."""
        self.state, self.reason = state, reason

    def evaluations(self) -> list[tuple[int, float]]:
        """Return the numbers of the evaluations, from 1, and their validation accuracies."""
        return [(number, value) for number, (_, value, _) in enumerate(self._points.get("val/accuracy", []), 1)]

    def state_dict(self) -> dict[str, Any]:
        losses = torch.stack(self.losses).cpu() if self.losses else torch.zeros(0)
        numbers = {"steps": self.steps, "rate": self.rate, "seconds": self.seconds, "eval_seconds": self.eval_seconds}
        return {**numbers, "losses": losses, "points": self._points}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.steps, self.rate, self.seconds, self.eval_seconds = (state[name] for name in ("steps", "rate", "seconds", "eval_seconds"))
        self.losses, self._points = list(state["losses"].to(device).unbind()), state["points"]

    def latest(self, metric: str) -> float | None:
        return self._points[metric][-1][1] if self._points.get(metric) else None

    def latest_loss(self) -> float:
        """Return the validation loss of the last evaluation; the training loss where nothing is held out."""
        return self._points.get("val/loss", self._points["train/loss"])[-1][1]

    def new_points(self) -> Points:
        """Return the points that are new since the last call."""
        new = {metric: points[self._told.get(metric, 0) :] for metric, points in self._points.items()}
        self._told = {metric: len(points) for metric, points in self._points.items()}
        return {metric: points for metric, points in new.items() if points}

    def curves(self) -> dict[str, Curve]:
        """Return the curves so far, by metric; that of the rate ends with the last step."""
        if self._points["lr"][-1][0] != self.steps - 1:  # where the run ended early
            self._add(self.steps - 1, "lr", self.rate)
        curves = {}
        for metric, points in self._points.items():
            if points:
                steps, values, times = map(list, zip(*points, strict=True))
                curves[metric] = Curve(steps=steps, values=values, times=times)
        return curves

    def _add(self, step: int, metric: str, value: float) -> None:
        self._points.setdefault(metric, []).append((step, value, round(time.time() * 1000)))


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator that depends on the seed and on what it is for: weights or batches."""
    stream = {"weights": 0, "batches": 1}[purpose]
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1))


def _network(spec: TrialSpec, dataset: data.Dataset) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # torch's initialisers draw from the global generator
        torch.manual_seed(generator(spec.seed, "weights").initial_seed())
        try:
            net = schedules.locate(spec.model.target)(dataset, **spec.model.args)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model={spec.model.name}: {error}") from error
    assert isinstance(net, nn.Module)
    return net


def _optimizers(spec: TrialSpec, net: nn.Module) -> list[torch.optim.Optimizer]:
    """Return the optimizer of the config; two of them for Muon, which takes the hidden matrices only.

    Biases and norms learn at `bias_lr_factor` times the rate, with so much less decay that theirs per step is the same.
    """
    trained = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    matrices = [weight for name, weight in trained.items() if name.endswith("weight") and weight.ndim > 1]
    vectors = [weight for name, weight in trained.items() if not (name.endswith("weight") and weight.ndim > 1)]
    factor, decay = spec.optimizer.bias_lr_factor, spec.optimizer.weight_decay
    weights_group = {"params": matrices, "lr_factor": 1.0, "weight_decay": decay}
    others_group = {"params": vectors, "lr_factor": factor, "weight_decay": decay / factor}
    if spec.scheduler.target == schedules.SCHEDULE_FREE:
        return [_schedule_free(spec, [weights_group, others_group])]
    if spec.optimizer.target != "torch.optim.Muon":
        return [_optimizer(spec, [weights_group, others_group])]
    head = trained.get("head.weight")
    if head is None or any(weight.ndim > 2 for weight in matrices):
        raise ConfigError(f"optimizer=muon: model={spec.model.name} has filters that are no matrices; model=fast suits it")
    weights_group["params"] = [weight for weight in matrices if weight is not head]
    others_group["params"] = [*vectors, head]
    return [_optimizer(spec, [weights_group]), torch.optim.AdamW([others_group], betas=(0.9, 0.95), fused=True)]


def _optimizer(spec: TrialSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    target = schedules.locate(spec.optimizer.target)
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.optimizer.args.items()}
    if spec.optimizer.target in ("torch.optim.SGD", "torch.optim.AdamW", "torch.optim.Adam"):
        args["fused"] = True
    try:
        optimizer = target(groups, lr=spec.optimizer.lr, **args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={spec.optimizer.name}: {error}") from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _schedule_free(spec: TrialSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the Schedule-Free form of the config's optimizer (https://github.com/facebookresearch/schedule_free)."""
    try:
        import schedulefree
    except ImportError as error:
        package = "pip install 'lr-scheduler-bench[schedule-free]'"
        raise ConfigError(f"scheduler=schedule_free needs the package schedulefree: {package}") from error
    args = spec.scheduler.args
    average = {"lr": spec.optimizer.lr, "r": args["average_power"], "weight_lr_power": args["rate_power"]}
    if spec.optimizer.target == "torch.optim.SGD":
        optimizer = schedulefree.SGDScheduleFree(groups, momentum=args["beta"], **average)
    elif spec.optimizer.target == "torch.optim.AdamW":
        betas = (args["beta"], spec.optimizer.args["betas"][1])
        optimizer = schedulefree.AdamWScheduleFree(groups, betas=betas, eps=spec.optimizer.args["eps"], **average)
    else:
        raise ConfigError(f"optimizer={spec.optimizer.name}: scheduler=schedule_free has a form of sgd and of adamw alone")
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    else:
        group["momentum"] = momentum


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
