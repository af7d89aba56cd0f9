"""Signals that end a program: SIGTERM and SIGHUP act like Ctrl-C, and none is delayed."""

import os
import signal
import threading


def treat_termination_as_interrupt() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, unless they are ignored (nohup)."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    _wake_main_thread_on_signals()


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
