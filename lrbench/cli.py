"""From a function of a composed config to a command: exit codes, and one clear message for what the user wrote wrong.

0 done; 1 something failed; 2 the user wrote something that cannot be; 130 interrupted.
"""

import errno
import itertools
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lrbench import config
from lrbench.spec import ConfigError

FORCED = "++"  # Hydra composes one scheduler before lrbench knows which are meant; it is to let pass what only others have
Task = Callable[[Sequence[str]], None]


def command(config_name: str, task: Task) -> None:
    """Run `task` with the overrides of the command line inside a Hydra program, and exit with its code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them
    _end_alike()
    sys.argv[1:] = [f"{FORCED}{text}" if text.startswith("scheduler.") else text for text in sys.argv[1:]]

    def inside_hydra(cfg: DictConfig) -> None:
        with exit_codes(config_name):  # here too: for what leaves a job by itself, Hydra prints a line of its own
            task([text.removeprefix(FORCED) for text in HydraConfig.get().overrides.task])

    with exit_codes(config_name):
        hydra.main(config_path="pkg://lrbench.conf", config_name=config_name, version_base="1.3")(inside_hydra)()


def _end_alike() -> None:
    """Let a terminal that closes and a system that asks the program to end be what Ctrl-C is, unless they are to be ignored (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    _wake_main_thread()


def _wake_main_thread() -> None:
    """See to it that a signal ends the sleep of the main thread, which is to act on it, also where Linux gives it to another thread.

    A thread reads each signal's number from a pipe, and knocks at the main thread with SIGURG, which means nothing else here.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda number, frame: None)
    main = threading.get_ident()

    def knock() -> None:
        while True:
            if any(number != signal.SIGURG for number in os.read(read, 100)):
                signal.pthread_kill(main, signal.SIGURG)

    threading.Thread(target=knock, name="signals", daemon=True).start()


@contextmanager
def exit_codes(config_name: str = "config") -> Iterator[None]:
    """End the program with the code and the message of what goes wrong inside."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {explained(error, config_name, sys.argv[1:])}", file=sys.stderr)
        sys.exit(2)
    except yaml.YAMLError as error:
        print(f"error: not YAML: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" for {error.filename}" if error.filename else ""
        print(
            f"error: no room left on the disk{where}; nothing is damaged, and the same command goes on once there is room", file=sys.stderr
        )
        sys.exit(1)


def command_line(module: str, overrides: Sequence[str]) -> str:
    """Return the command that runs a module of lrbench with this Python, for a person to copy."""
    path = Path(sys.executable)
    if shutil.which("python") == sys.executable:
        python = "python"
    else:
        python = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    folder = _config_dir(sys.argv)
    return shlex.join([python, "-m", module, *(["--config-dir", folder] if folder else []), *overrides])


def explained(error: Exception, config_name: str, argv: Sequence[str]) -> str:
    """Return the message of an error; Hydra's are rewritten where lrbench can say more."""
    message = "\n".join(dict.fromkeys(str(part).strip() for part in (error, error.__cause__) if part))
    if isinstance(error, ConfigError):
        return str(error)
    if missing := re.match(r"In '.*': Could not find '(\w+)/(.+)'", message):
        group, name = missing.groups()
        names = re.findall(r"^\t(\S+)$", message, flags=re.MULTILINE)
        return f"{group}={name}: unknown{config.nearest(name, names)}"
    if message.startswith("ConfigError raised while resolving interpolation: "):
        return message.splitlines()[0].partition(": ")[2]
    if message.startswith("Could not override"):
        return _unknown_key(config_name, argv) or message
    if isinstance(error, OverrideParseException):
        example = "'scheduler.args.lr_lambda=\"0.95 ** epoch\"'"
        return f"{message.splitlines()[0]}\nA value with spaces or signs goes into quotes, and those into others: {example}"
    return message


def _unknown_key(config_name: str, argv: Sequence[str]) -> str | None:
    """Return what `config.load` says of the same overrides, which knows the keys around a wrong one."""
    overrides = [text for text in argv if "=" in text and not text.startswith("-")]
    folder = _config_dir(argv)
    try:
        with hydra.initialize_config_module("lrbench.conf", version_base="1.3"):
            config.load(config_name, [*overrides, *([f"hydra.searchpath=[file://{folder}]"] if folder else [])])
    except ConfigError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException):
        return None
    return None


def _config_dir(argv: Sequence[str]) -> str | None:
    """Return the folder of the user's own configs that a command line names."""
    return next((after for flag, after in itertools.pairwise(argv) if flag in ("--config-dir", "-cd")), None)
