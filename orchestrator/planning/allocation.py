"""How many trials each cell gets: every combination as many (even), or promising cells more (adaptive).

Adaptive allocation is sequential halving over the cells of a dataset: Karnin, Koren and Somekh 2013, "Almost Optimal
Exploration in Multi-Armed Bandits", algorithm 1. The dataset's trials are shared out over ceil(log2(cells)) rounds. In
a round the cells that are left get equal shares; when all these trials are over, the worse half gets no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from segsweep.orchestrator.planning.plan import Combination, CombinationKey, SweepPlan
from segsweep.orchestrator.record.journal import RoundClosed
from segsweep.orchestrator.record.state import SweepState
from segsweep.orchestrator.record.trials import Cell, best_of


class Allotment:
    """The trials that cells have been given so far, in the order in which they start."""

    def __init__(self, plan: SweepPlan) -> None:
        self.plan = plan
        self.order: list[Combination] = []
        self.wanted: Counter[CombinationKey] = Counter()  # trials of each combination
        self.trials: Counter[Cell] = Counter()
        self._closed: Counter[str] = Counter()  # rounds by dataset
        self._left: dict[str, list[Cell]] = {}  # by dataset, in the plan's order; empty if all have all they will get
        if plan.spec.allocation == "even":
            self._give(plan.order)
            return
        for cell in plan.cells:
            self._left.setdefault(cell.dataset, []).append(cell)
        shares: dict[Cell, int] = {}
        for dataset, cells in self._left.items():
            shares |= self.shares(dataset, cells, at_least=plan.spec.min_finished)
        self._give(self._turns(shares))

    @classmethod
    def replay(cls, plan: SweepPlan, rounds: Sequence[RoundClosed]) -> Allotment:
        """As it is after these rounds."""
        allotment = cls(plan)
        for closed in rounds:
            allotment.absorb(closed)
        return allotment

    def due(self, state: SweepState) -> Iterator[RoundClosed]:
        """The rounds whose trials are all over, decided; nothing has changed yet."""
        for dataset, cells in self.open_rounds():
            if all(self._is_over(cell, state) for cell in cells):
                yield self.close(dataset, cells, state)

    def _is_over(self, cell: Cell, state: SweepState) -> bool:
        """Nothing more happens in the cell unless it gets further trials."""
        over = state.count(cell, "finished", "stopped", "failed", "infeasible") + state.dropped[cell]
        if over < self.trials[cell]:
            return False
        again = any(trial.due_again(self.plan.spec.max_failures) for trial in state.cell(cell))
        return not again and not falls_short(cell, self.plan, state)

    def is_settled(self, cell: Cell, state: SweepState) -> bool:
        """Nothing more happens in the cell, and no round is left that could give it further trials."""
        return self._is_over(cell, state) and not any(cell in cells for _, cells in self.open_rounds())

    def open_rounds(self) -> Iterator[tuple[str, list[Cell]]]:
        """Datasets with a round to decide, and the cells that are in it."""
        for dataset, cells in self._left.items():
            if self._rounds_after(dataset):
                yield dataset, cells

    def close(self, dataset: str, cells: list[Cell], state: SweepState) -> RoundClosed:
        """Decide a round whose trials are over."""
        best = {cell: best_finished(cell, state) for cell in cells}
        ranked = sorted(cells, key=lambda cell: _worse(best[cell], self.plan))  # equals in the plan's order
        shares = self.shares(dataset, ranked[: (len(ranked) + 1) // 2], further=True)
        return RoundClosed(
            dataset=dataset,
            round=self._closed[dataset] + 1,
            best={cell.model: best[cell] for cell in ranked},
            trials={cell.model: share for cell, share in shares.items()},
        )

    def absorb(self, closed: RoundClosed) -> None:
        """The round is closed, and those that go on get their further trials."""
        shares = {Cell(closed.dataset, model): share for model, share in closed.trials.items()}
        self._closed[closed.dataset] += 1
        self._left[closed.dataset] = [cell for cell in self._left[closed.dataset] if cell in shares]
        self._give(self._turns(shares))

    def shares(
        self, dataset: str, cells: Sequence[Cell], *, at_least: int = 0, further: bool = False
    ) -> dict[Cell, int]:
        """What each of `cells`, the best first, gets in a round; further: in the one after the open one.

        Never more than there are configurations. What does not divide is for the last round, the best cells first.
        """
        budget = self._total(dataset) - sum(self.trials[cell] for cell in self.plan.cells if cell.dataset == dataset)
        rounds = self._rounds_after(dataset) + (not further)
        share = max(budget // (rounds * len(cells)), at_least)
        room = {cell: self._room(cell) for cell in cells}
        shares = {cell: min(share, room[cell]) for cell in cells}
        if rounds > 1:
            return shares
        while (over := budget - sum(shares.values())) > 0 and (open_ := [c for c in cells if shares[c] < room[c]]):
            for cell in open_[:over]:
                shares[cell] += 1
        return shares

    def _rounds_after(self, dataset: str) -> int:
        """Rounds that come after the open one."""
        cells = sum(cell.dataset == dataset for cell in self.plan.cells)
        return (cells - 1).bit_length() - 1 - self._closed[dataset]  # ceil(log2(cells)) in all

    def _total(self, dataset: str) -> int:
        return sum(c.trials for c in self.plan.combinations if c.dataset.name == dataset)

    def _room(self, cell: Cell) -> int:
        """Configurations of the cell that have no trial, as far as they matter."""
        total = self._total(cell.dataset)
        return sum(int(min(c.size, total)) - self.wanted[c.key] for c in self.plan.cells[cell])

    def _turns(self, shares: Mapping[Cell, int]) -> Iterator[Combination]:
        """Cells take turns; each gives its turn to the combination that has had the fewest."""
        given = Counter(self.wanted)
        for turn in range(max(shares.values(), default=0)):
            for cell in (cell for cell in self.plan.cells if turn < shares.get(cell, 0)):
                open_ = [c for c in self.plan.cells[cell] if given[c.key] < c.size]
                combination = min(open_, key=lambda c: given[c.key])
                given[combination.key] += 1
                yield combination

    def _give(self, order: Sequence[Combination] | Iterator[Combination]) -> None:
        for combination in list(order):
            self.order.append(combination)
            self.wanted[combination.key] += 1
            self.trials[combination.cell] += 1


def falls_short(cell: Cell, plan: SweepPlan, state: SweepState) -> bool:
    """It would end with fewer than min_finished, though a stopped trial could go on."""
    alive = state.count(cell, "finished", "running", "paused")
    return alive < plan.spec.min_finished and state.count(cell, "stopped") > 0


def best_finished(cell: Cell, state: SweepState) -> float | None:
    """The value that the leaderboard would show."""
    finished = [trial for trial in state.cell(cell) if trial.status == "finished" and trial.best is not None]
    return best_of(finished).best if finished else None


def _worse(value: float | None, plan: SweepPlan) -> float:
    """Lower is better; a cell without a value comes last."""
    if value is None:
        return float("inf")
    return -value if plan.spec.objective.mode == "max" else value


def no_choice(plan: SweepPlan) -> Iterator[str]:
    """Why adaptive allocation could only be even."""
    if plan.spec.allocation == "even" or not plan.cells:
        return
    cells = max(Counter(cell.dataset for cell in plan.cells).values())
    if cells < 3:
        what = "one model leaves" if cells == 1 else "two models, in the one round that they have, leave"
        yield f"{what} nothing to choose between; add models, or write even"
    elif Allotment(plan).trials.total() >= plan.trials:
        yield "the first round takes all trials; raise trials, lower min_finished, or write even"


def limits(plan: SweepPlan) -> dict[Cell, tuple[int, int]]:
    """The fewest and the most trials that each cell can get."""
    fewest = Allotment(plan)
    return {cell: (fewest.trials[cell], _if_best(plan, cell)) for cell in plan.cells}


def _if_best(plan: SweepPlan, best: Cell) -> int:
    """What a cell gets that wins every round."""
    allotment = Allotment(plan)
    while cells := dict(allotment.open_rounds()).get(best.dataset):
        ranked = sorted(cells, key=lambda cell: cell != best)
        shares = allotment.shares(best.dataset, ranked[: (len(ranked) + 1) // 2], further=True)
        trials = {cell.model: share for cell, share in shares.items()}
        allotment.absorb(RoundClosed(dataset=best.dataset, round=0, best={}, trials=trials))
    return allotment.trials[best]


def told(closed: RoundClosed) -> str:
    """ "streets, round 1: 6 more trials for unet (0.412), 6 for fpn (0.388); none for linknet (0.201)" """
    shown = {model: "no result" if value is None else f"{value:.4g}" for model, value in closed.best.items()}
    going = [f"{trials} for {model} ({shown[model]})" for model, trials in closed.trials.items()]
    ended = [f"{model} ({value})" for model, value in shown.items() if model not in closed.trials]
    more = ", ".join(going).replace(" for", " more trials for", 1)
    return f"{closed.dataset}, round {closed.round}: {more}; none for {', '.join(ended)}"
