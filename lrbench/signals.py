"""Signals that end a program: SIGTERM and SIGHUP act like Ctrl-C, and none is delayed or lost."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AGAIN_AFTER = 0.1  # seconds until a signal that was swallowed is sent again


def treat_termination_as_interrupt() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, unless they are ignored (nohup)."""
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    _wake_main_thread_on_signals()
    _repeat_swallowed_interrupts(received)


def _wake_main_thread_on_signals() -> None:
    """Make every signal end the sleep of the main thread, which handles it.

    Linux may deliver a signal to another thread, and the main thread would sleep on. So a thread
    reads the number of each signal from a pipe and sends the main thread SIGURG, which has no other
    use here.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGURG, lambda number, frame: None)
    main = threading.get_ident()

    def wake() -> None:
        while True:
            if any(number != signal.SIGURG for number in os.read(read, 100)):
                signal.pthread_kill(main, signal.SIGURG)

    threading.Thread(target=wake, name="signals", daemon=True).start()


def _repeat_swallowed_interrupts(received: Sequence[int]) -> None:
    """Send a signal again if its KeyboardInterrupt was raised where Python ignores exceptions.

    Such places are the destructors of other packages. `received` has the numbers of the signals.
    """
    before, main = sys.unraisablehook, threading.get_ident()

    def repeat(unraisable: "sys.UnraisableHookArgs") -> None:
        if not received or sys.is_finalizing() or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        timer = threading.Timer(AGAIN_AFTER, signal.pthread_kill, (main, received[-1]))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = repeat
