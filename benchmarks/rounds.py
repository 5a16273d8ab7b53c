"""Two workers that alternate in rounds, and the row of figures that results."""

import statistics
from contextlib import ExitStack

from benchmarks.bench import Bench, Row, add_note, message, new_row
from benchmarks.cases import Case
from benchmarks.trials import fastest_mode
from benchmarks.worker import Worker, WorkerFailed

ROUND_SECONDS = {"cpu": 12.0, "gpu": 0.5}


def measure_rounds(bench: Bench, case: Case, *, with_peer: bool) -> Row:
    """Measures real tokens a second of both sides: medians over rounds in which one works, then the other."""
    row = new_row(case)
    # tried before our side holds memory of the device
    mode = fastest_mode(bench, case, row) if with_peer else None
    with ExitStack() as stack:
        ours = stack.enter_context(bench.ours())
        row |= ours.ask("start", **message(case, bench))
        # in a process of its own: the matrices that it multiplies would count as memory of training
        gauge = stack.enter_context(bench.ours("limit"))
        our_rounds, limits = Rounds(bench, ours), []
        peer_rounds = _start_peer(bench, case, mode, stack, row) if mode else None
        for _ in range(case.rounds):
            our_rounds.measure_one()
            limits.append(gauge.ask("limit")["limit"])
            if peer_rounds:
                peer_rounds.measure_one()
        row |= {"ours": our_rounds.median("tokens"), "peak_mb": our_rounds.peak_mb()}
        if our_rounds.counts("flops"):
            row |= {"flops": our_rounds.median("flops"), "limit": max(limits)}
        if peer_rounds:
            row |= {"peer": peer_rounds.median("tokens"), "peer_peak_mb": peer_rounds.peak_mb()}
            row["peer_mode"] = mode if case.computes else None
    return row


class Rounds:
    """The rounds of one side, each of about `ROUND_SECONDS` of work."""

    def __init__(self, bench: Bench, worker: Worker):
        """Warms the worker up, and finds how many repetitions fill a round.

        Args:
          bench: says how long a round is.
          worker: has answered `start`.

        Raises:
          WorkerFailed: it cannot do its work.
        """
        self._worker, self._rounds = worker, []
        worker.ask("take", count=1)
        wanted, self._count = ROUND_SECONDS[bench.platform], 1
        # doubled until they can be timed: a few milliseconds say little about the speed of a round
        while (seconds := worker.ask("take", count=self._count)["seconds"]) < wanted / 4:
            self._count *= 2
        self._count = max(1, round(self._count * wanted / seconds))

    def measure_one(self) -> None:
        """Measures one more round."""
        # one uncounted repetition first: the system may have reclaimed memory and caches while the other side worked
        self._worker.ask("take", count=1)
        self._rounds.append(self._worker.ask("take", count=self._count))

    def peak_mb(self) -> float:
        """The worker's peak memory so far, MB."""
        return self._worker.ask("memory")["peak_mb"]

    def counts(self, figure: str) -> bool:
        """Whether the worker's answers contain this figure."""
        return figure in self._rounds[0]

    def median(self, figure: str) -> float:
        """The median over rounds of a figure per second."""
        return statistics.median(taken[figure] / taken["seconds"] for taken in self._rounds)


def _start_peer(bench: Bench, case: Case, mode: str, stack: ExitStack, row: Row) -> Rounds | None:
    """Starts and warms the peer; where that fails, returns None and adds a note to the row."""
    peer = stack.enter_context(bench.peer())
    try:
        peer.ask("start", **message(case, bench), mode=mode)
        return Rounds(bench, peer)
    except WorkerFailed as error:
        add_note(row, f"no peer: {error}")
        return None
