import pytest

from textclf_jax.training import throughput
from textclf_jax.training.throughput import Speed, Throughput


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: now[0])
    return now


def test_speed_counts_real_tokens_padding_and_flops(clock):
    counter = Throughput({(4, 10): 1000, (4, 20): 3000}.__getitem__, limit=8000.0)
    clock[0] += 2.0
    lap = counter.lap()
    counter.add((4, 10), 30, lap / 2)
    counter.add((4, 20), 60, lap / 2)
    assert counter.speed() == Speed(45.0, pytest.approx(4000 / 2 / 8000), pytest.approx(1 - 90 / 120))


def test_pauses_do_not_count_and_a_restart_forgets(clock):
    counter = Throughput(lambda shape: shape[1], limit=None)
    clock[0] += 5.0
    counter.started += 4.0
    counter.add((4, 10), 30, counter.lap())
    assert counter.speed() == Speed(30.0, None, 0.25)
    counter.restart()
    clock[0] += 1.0
    assert counter.speed() == Speed(0.0, None, 1.0)
    assert counter.lap() == 1.0


def test_what_comes_between_laps_counts_though_rows_are_forgotten(clock):
    """Writing a row of the log takes time from the next steps."""
    counter = Throughput(lambda shape: shape[1], limit=None)
    clock[0] += 1.0
    counter.add((4, 10), 30, counter.lap())
    clock[0] += 2.0
    counter.forget()
    clock[0] += 1.0
    counter.add((4, 10), 30, counter.lap())
    assert counter.speed().tokens_per_second == 10.0


def test_steps_of_one_lap_have_the_same_speed(clock):
    """A row of the log that ends in the middle of a group counts the time of its own steps alone."""
    counter = Throughput(lambda shape: shape[1], limit=None)
    clock[0] += 4.0
    lap = counter.lap()
    for _ in range(2):
        counter.add((4, 10), 30, lap / 4)
    assert counter.speed().tokens_per_second == 30.0


def test_the_least_time_of_a_step_follows_from_the_limit():
    assert Throughput(lambda shape: 600, limit=400.0).least_seconds((4, 10)) == 1.5
    assert Throughput(lambda shape: 600, limit=None).least_seconds((4, 10)) == 0.0


def test_figures_leave_out_what_is_unknown():
    assert Speed(1234.56, None, 0.123456).figures() == {"tokens_per_second": 1234.6, "padding_waste": 0.12346}
    assert Speed(1.0, 0.5, 0.0).figures()["mfu"] == 0.5


def test_the_mfu_of_a_tiny_model_is_not_rounded_to_zero():
    assert Speed(1.0, 0.0000123456, 0.0).figures()["mfu"] == 0.000012346
