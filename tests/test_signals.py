import signal
import subprocess
import sys

import pytest

from lrbench import signals


@pytest.mark.parametrize("number", signals.ENDING)
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.default_int_handler, signal.SIG_IGN])
def test_termination_is_an_interrupt_unless_it_is_ignored(
    number: signal.Signals, handler: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_wake_main_thread_on_signals", lambda: None)
    monkeypatch.setattr(signals, "_repeat_swallowed_interrupts", lambda received: None)
    before = {each: signal.getsignal(each) for each in signals.ENDING}
    try:
        signal.signal(number, handler)
        signals.treat_termination_as_interrupt()
        if handler == signal.SIG_IGN:
            signal.raise_signal(number)
        else:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    finally:
        for each, was in before.items():
            signal.signal(each, was)


SWALLOWED = """
import signal, time
from lrbench.signals import treat_termination_as_interrupt

class Archive:
    def __del__(self):
        signal.raise_signal(signal.{number})

treat_termination_as_interrupt()
try:
    Archive()  # deleted at once, and Python ignores exceptions of destructors
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_in_a_destructor_is_not_lost(number: str) -> None:
    program = SWALLOWED.format(number=number)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_other_exceptions_of_destructors_are_shown_as_before() -> None:
    program = SWALLOWED.format(number="SIGTERM").replace("signal.raise_signal(signal.SIGTERM)", "1 / 0")
    program = program.replace("sleep(20)", "sleep(0)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "" and "ZeroDivisionError" in done.stderr
