import signal

import pytest

from lrbench import signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_termination_is_an_interrupt_unless_it_is_ignored(
    number: signal.Signals, handler: signal.Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_wake_main_thread_on_signals", lambda: None)
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(number, handler)
        signals.treat_termination_as_interrupt()
        expected = signal.default_int_handler if handler == signal.SIG_DFL else signal.SIG_IGN
        assert signal.getsignal(number) == expected
    finally:
        for each, was in before.items():
            signal.signal(each, was)
