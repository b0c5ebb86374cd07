import signal
import threading

import pytest

from dpbench.train.interrupt import stop_on_interrupt


def test_first_signal_is_a_wish_and_the_second_an_interrupt():
    with stop_on_interrupt() as should_stop:
        assert not should_stop()
        signal.raise_signal(signal.SIGINT)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_termination_is_a_wish_too():
    with stop_on_interrupt() as should_stop:
        signal.raise_signal(signal.SIGTERM)
        assert should_stop()


def test_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_leave_signals_alone():
    seen = []

    def work() -> None:
        with stop_on_interrupt() as should_stop:
            seen.append(should_stop())

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before
