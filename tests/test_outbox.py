"""segframe.outbox: nothing is lost, nothing waits, and the work is bounded."""

import threading

import pytest

from segframe import outbox
from segframe.outbox import Outbox, pause_after


def test_all_is_delivered_in_order_and_what_was_posted_meanwhile_goes_together():
    batches, busy, go_on = [], threading.Event(), threading.Event()

    def deliver(messages):
        batches.append(messages)
        busy.set()
        assert go_on.wait(60)

    box = Outbox(deliver)
    box.post(0)
    assert busy.wait(60)
    for number in range(1, 100):  # were a post to wait for the delivery, it would never return
        box.post(number)
    go_on.set()
    box.close()
    assert batches == [[0], list(range(1, 100))]


def test_closing_does_not_wait_for_the_pause(monkeypatch):
    monkeypatch.setattr(outbox, "LONGEST_PAUSE_S", 1e6)
    monkeypatch.setattr(outbox, "SHARE", 1e-12)
    delivered, first = [], threading.Event()

    def deliver(messages):
        delivered.extend(messages)
        sum(range(1000))
        first.set()

    box = Outbox(deliver)
    box.post("a")
    assert first.wait(60)
    box.post("b")
    box.close()
    assert delivered == ["a", "b"]


def test_a_box_without_messages_has_no_thread():
    before = threading.active_count()
    box = Outbox(lambda messages: None)
    assert threading.active_count() == before
    box.close()


@pytest.mark.parametrize("work, pause", [(0.0, 0.0), (0.01, 0.99), (0.05, 4.95), (3.0, 10.0)])
def test_the_pause_keeps_the_work_at_a_hundredth_until_it_would_keep_users_waiting(work, pause):
    assert pause_after(work) == pytest.approx(pause)
