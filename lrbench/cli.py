"""The common parts of all commands: exit codes, and one clear message for an error.

Exit codes: 0 done; 1 something failed; 2 the user's configuration is invalid; 130 interrupted;
141 the output was closed, as by `head`.
"""

import errno
import io
import os
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from lrbench import __version__
from lrbench.command_line import config_dir
from lrbench.config.compose import load_config
from lrbench.config.resolvers import explain_interpolation, register_resolvers
from lrbench.config.validation import suggestion
from lrbench.executors.executor import RunError
from lrbench.signals import treat_termination_as_interrupt
from lrbench.spec import ConfigError

# Hydra composes its default scheduler before lrbench knows which schedulers are meant. With this
# prefix it accepts a key that only another scheduler has.
FORCED = "++"
DELETED = "=__deleted__"  # stands for the ~ of a key that only another scheduler has
CLOSED_PIPE = 141  # the exit code that a shell shows for a program that SIGPIPE ended
REFUSED_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP)
Task = Callable[[Sequence[str]], bool | None]  # returns False if a run failed


def command(config_name: str, task: Task) -> None:
    """Run `task` with the overrides of the command line inside a Hydra program.

    In a multirun, `task` runs once for each job. If it returns False, the other jobs still run.
    """
    if "--version" in sys.argv:  # Hydra would print its own
        print(f"lrbench {__version__}")
        return
    outcomes: list[bool | None] = []
    register_resolvers()  # Hydra's own --resolve needs them too
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
    treat_termination_as_interrupt()
    sys.argv[1:] = [_forced(text) for text in sys.argv[1:]]

    def inside_hydra(cfg: DictConfig) -> None:
        with exit_codes(config_name):  # here too, because Hydra prints its own line if a job raises an error
            outcomes.append(task(_overrides()))

    with exit_codes(config_name):
        hydra.main(config_path="pkg://lrbench.conf", config_name=config_name, version_base="1.3")(inside_hydra)()
    if False in outcomes:
        sys.exit(1)


def _forced(argument: str) -> str:
    """Return an argument of the command line as Hydra accepts it for every scheduler."""
    if argument.startswith("~scheduler."):
        return f"{FORCED}{argument.removeprefix('~').partition('=')[0]}{DELETED}"
    return f"{FORCED}{argument}" if argument.startswith("scheduler.") else argument


def _as_given(override: str) -> str:
    """Return an override as the user wrote it."""
    text = override.removeprefix(FORCED)
    return f"~{text.removesuffix(DELETED)}" if text.endswith(DELETED) else text


def _overrides() -> list[str]:
    """Return the overrides of the running Hydra program as the user wrote them.

    An override such as `scheduler.args.T_max=${steps:0.5}` stays unresolved: its value depends on
    the scheduler and on the length of each run.
    """
    overrides = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [_as_given(str(text)) for text in overrides]


@contextmanager
def exit_codes(config_name: str = "config") -> Iterator[None]:
    """Turn an error inside into a message on stderr and an exit code. Unknown errors pass.

    Characters that the terminal's encoding lacks become question marks.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where a closed pipe is no traceback
    except KeyboardInterrupt as interrupt:
        _exit(130, str(interrupt) or "interrupted")
    except RunError as error:
        _exit(1, f"error: {error}")
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        _exit(2, f"error: {explain(error, config_name, sys.argv[1:])}")
    except yaml.YAMLError as error:
        _exit(2, f"error: a config file must be valid YAML; {error}")
    except BrokenPipeError:
        if not _is_closed(sys.stdout):  # it is another pipe
            raise
        # The reader, such as `head`, has all that it wants.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at the end
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        if error.errno in REFUSED_PATH and error.filename:
            _exit(2, f"error: {error.filename}: must be a path that the file system accepts ({error.strerror})")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        file = f" for {error.filename}" if error.filename else ""
        _exit(
            1, f"error: no room left on the disk{file}. No result is damaged. Free some space and repeat the command."
        )


def _is_closed(stream: TextIO) -> bool:
    """Return True if a stream is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _exit(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def explain(error: Exception, config_name: str, argv: Sequence[str]) -> str:
    """Return the message of an error, reworded if it comes from Hydra and lrbench can say more."""
    if isinstance(error, ConfigError):
        return str(error)
    message = "\n".join(dict.fromkeys(str(part).strip() for part in (error, error.__cause__) if part))
    if missing := re.match(r"In '.*': Could not find '(\w+)/(.+)'", message):
        group, name = missing.groups()
        names = re.findall(r"^\t(\S+)$", message, flags=re.MULTILINE)
        return f"{group}={name}: unknown{suggestion(name, names)}"
    if isinstance(error, InterpolationResolutionError):
        return explain_interpolation(error, str(error.full_key))
    if message.startswith(("Could not override", "Could not delete")):
        return _unknown_key(config_name, argv) or message
    if isinstance(error, OverrideParseException):
        example = "'scheduler.args.lr_lambda=\"0.95 ** epoch\"'"
        problem = message.splitlines()[0].replace(f"'{FORCED}scheduler.", "'scheduler.")
        return f"{problem}\nPut a value with spaces or operators in two pairs of quotes, such as {example}"
    return message


def _unknown_key(config_name: str, argv: Sequence[str]) -> str | None:
    """Return the message of `load_config` for the same overrides, which lists the allowed keys.

    None if it accepts them.
    """
    overrides = [_as_given(text) for text in argv if ("=" in text or text.startswith("~")) and text[0] != "-"]
    folder = config_dir(argv)
    try:
        with hydra.initialize_config_module("lrbench.conf", version_base="1.3"):
            load_config(config_name, [*overrides, *([f"hydra.searchpath=[file://{folder}]"] if folder else [])])
    except ConfigError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException):
        return None
    return None
