"""A scheduler as torch code, which a reader can copy into another program."""

import ast
import inspect
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lrbench.config.formula import CONSTANTS
from lrbench.config.targets import locate
from lrbench.schedules.table import own_optimizer
from lrbench.schedules.torch_scheduler import FORMULA_ARGUMENTS, scheduler_steps
from lrbench.spec import TrialSpec

MATRICES_ONLY = "torch.optim.Muon"  # it takes no biases and no convolutions, so a reader must choose its parameters
MAX_WIDTH = 100  # characters of a line


def torch_code(spec: TrialSpec) -> str:
    """Return the code that makes the scheduler of `spec`, or an empty text if torch cannot.

    Nothing outside torch and lrbench is imported, because a spec may come from anyone.
    """
    target, steps = spec.scheduler.target, scheduler_steps(spec)
    if all(inner.startswith("torch.optim.lr_scheduler.") for inner in (target, *_targets_inside(spec.scheduler.args))):
        return "scheduler = " + _scheduler_call({"_target_": target, "args": spec.scheduler.args}, spec)
    if target.startswith("lrbench.factors.") and not own_optimizer(target):
        args = [f"{name}={_literal(value)}" for name, value in spec.scheduler.args.items()]
        factor = _call(f"factors.{target.rpartition('.')[2]}", [f"np.arange({steps})", str(steps), *args])
        function = f"lambda step: factor[min(step, {steps - 1})]"
        return f"factor = {factor}\nscheduler = lr_scheduler.LambdaLR(optimizer, {function})"
    return ""


def _targets_inside(node: Any) -> Iterator[str]:
    """Yield the targets of a scheduler's members, and of their members."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _targets_inside(item)


def standalone_code(spec: TrialSpec) -> str:
    """Return a training loop with the optimizer and the scheduler of `spec`, without lrbench.

    Return an empty text if torch and numpy alone cannot make the scheduler. Learning rates are for
    a run of the same length. The reader has to fill in an optimizer that torch lacks.
    """
    scheduler = torch_code(spec)
    if not scheduler:
        return ""
    imports = ["import torch", "from torch.optim import lr_scheduler"]
    lines = []
    if (target := spec.scheduler.target).startswith("lrbench.factors."):
        imports.insert(0, "import numpy as np")
        lines += [inline_source(locate(target), spec.scheduler.args.values()), ""]
        scheduler = scheduler.replace("factors.", "", 1)
    if "math." in "\n".join([*lines, scheduler]):
        imports.insert(0, "import math")
    args = {"lr": spec.optimizer.lr, "weight_decay": spec.optimizer.weight_decay, **spec.optimizer.args}
    texts = [f"{name}={_literal(value)}" for name, value in args.items()]
    if spec.optimizer.target.startswith("torch.") and spec.optimizer.target != MATRICES_ONLY:
        lines.append(f"optimizer = {_call(spec.optimizer.target, ['model.parameters()', *texts])}")
    else:
        lines.append(f"optimizer = ...  # {spec.optimizer.name} with {', '.join(texts)}")
    if spec.optimizer.bias_lr_factor != 1:
        factor = f"{spec.optimizer.bias_lr_factor:g}"
        lines.append(f"# Biases and norms had {factor} times this rate and {factor} times less weight decay.")
    return "\n".join([*imports, "", *lines, scheduler, "", *_loop(spec)])


def _loop(spec: TrialSpec) -> list[str]:
    """Return the lines of a training loop that steps the scheduler as lrbench does."""
    smoothing = f", label_smoothing={spec.train.label_smoothing}" if spec.train.label_smoothing else ""
    step = [
        "optimizer.zero_grad()",
        f"torch.nn.functional.cross_entropy(model(images), labels{smoothing}).backward()",
        "optimizer.step()",
    ]
    after = "scheduler.step()"
    if spec.scheduler.target.endswith("ReduceLROnPlateau"):
        after = "# After each validation: scheduler.step(validation_loss)"
    if spec.scheduler.interval == "epoch":
        inner = ["    for images, labels in batches:", *(f"        {line}" for line in step), f"    {after}"]
        return [f"for epoch in range({scheduler_steps(spec)}):", *inner]
    total = f"  # {scheduler_steps(spec)} steps in all"
    return [f"for images, labels in batches:{total}", *(f"    {line}" for line in (*step, after))]


def inline_source(function: Callable[..., Any], arguments: Iterable[object]) -> str:
    """Return the source of a function of `lrbench.factors`, and of what it uses there.

    Docstrings, type annotations and the checks of arguments are left out, and the entries of tables
    that the call with these `arguments` does not use.
    """
    module = ast.parse(inspect.getsource(inspect.getmodule(function) or function))
    defined = {name: node for node in module.body for name in _defined_names(node)}
    wanted, found = [function.__name__], dict[str, ast.stmt]()
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = node = _bare(defined[name])
        wanted += [used.id for used in ast.walk(node) if isinstance(used, ast.Name) and used.id in defined]
    texts: set[object] = {value for value in arguments if isinstance(value, str)}
    texts |= {node.value for node in ast.walk(found[function.__name__]) if isinstance(node, ast.Constant)}
    for node in found.values():
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            _keep_entries(node.value, texts)
    ordered = sorted(found, key=lambda name: defined[name].lineno if name != function.__name__ else math.inf)
    return "\n\n".join(ast.unparse(found[name]) for name in ordered)


def _keep_entries(table: ast.Dict, keys: Collection[object]) -> None:
    """Leave only these keys in a table."""
    kept = [
        (key, value)
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and key.value in keys
    ]
    table.keys, table.values = [key for key, _ in kept], [value for _, value in kept]


def _defined_names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []


def _bare(node: ast.stmt) -> ast.stmt:
    """Return a definition without its docstring, annotations, and calls whose result is unused."""
    if isinstance(node, ast.AnnAssign):
        assert node.value
        return ast.copy_location(ast.Assign([node.target], node.value), node)
    assert isinstance(node, ast.FunctionDef)
    for arg in (*node.args.args, *node.args.kwonlyargs):
        arg.annotation = None
    node.body = [statement for statement in node.body if not isinstance(statement, ast.Expr)]
    node.decorator_list, node.returns = [], None
    return node


def _scheduler_call(node: Mapping[str, Any], spec: TrialSpec) -> str:
    """Return the call of a scheduler class, without arguments that equal torch's defaults."""
    target = locate(node["_target_"])
    parameters = inspect.signature(target).parameters
    args = {
        name: value for name, value in node["args"].items() if value is not None and value != parameters[name].default
    }
    members = [_indented(_scheduler_call(member, spec)) for member in args.pop("schedulers", [])]
    texts = [
        f"{name}={_formula(name, str(value), spec) if name in FORMULA_ARGUMENTS else _literal(value)}"
        for name, value in args.items()
    ]
    first = ["optimizer"]
    if members:
        first = ["optimizer=optimizer", f"schedulers=[\n{''.join(members)}]"]
    return _call(f"lr_scheduler.{target.__name__}", [*first, *texts])


def _call(function: str, args: Sequence[str]) -> str:
    """Return a call on one line, or with a line per argument if that is too long."""
    line = f"{function}({', '.join(args)})"
    if len(line) <= MAX_WIDTH and "\n" not in line:
        return line
    return f"{function}(\n{''.join(map(_indented, args))})"


def _indented(text: str) -> str:
    return "    " + text.replace("\n", "\n    ") + ",\n"


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _formula(argument: str, text: str, spec: TrialSpec) -> str:
    """Return a formula of the config as a lambda of the number that torch passes."""
    train, parameter = spec.train, "x" if FORMULA_ARGUMENTS[argument] == "x" else "step"
    names = {
        "total_steps": f"{train.total_steps}",
        "total_epochs": f"{train.epochs!r}",
        "scheduler_steps": f"{scheduler_steps(spec)}",
        **{name: f"math.{name}" for name in CONSTANTS},
        **{name: repr(value) for name, value in spec.scheduler.knobs.items()},
    }
    if parameter == "step":  # torch counts the steps of the scheduler, which may be epochs
        step = "step" if spec.scheduler.interval == "step" else f"(step * {train.steps_per_epoch})"
        names |= {
            "step": step,
            "epoch": f"{step} / {train.steps_per_epoch}",
            "progress": f"{step} / {train.total_steps}",
        }

    class Replace(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:  # the name that ast calls
            return ast.parse(names[node.id], mode="eval").body if node.id in names else node

        def visit_Call(self, node: ast.Call) -> ast.AST:  # the name that ast calls
            assert isinstance(node.func, ast.Name)  # because Formula has no other calls
            if hasattr(math, node.func.id):
                node.func = ast.Name(f"math.{node.func.id}", ast.Load())
            node.args = [self.visit(arg) for arg in node.args]
            return node

    return f"lambda {parameter}: {ast.unparse(Replace().visit(ast.parse(text, mode='eval')))}"
