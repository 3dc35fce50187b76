"""Requests to many tenants: the product's budget of connections, beside its alternatives.

A round drives one contender after the other for some seconds with the same streams of requests,
in one order and in the next round in the other. A contender begins each of its turns without a
connection, is warmed up untimed, and closes everything before the next one's turn.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Final

import effort
import memory
from contenders import (
    Budgeted,
    Contender,
    EnginePerTenant,
    PerRequest,
    Spread,
    with_keys,
    with_password,
)
from drive import Draw, Outcome, drive, visit, watched
from figures import Figure, at_least, at_most, middle, ratio
from houses import House, Zipf, build
from stage import MAX_CONNECTIONS, Stage

_EXPONENT: Final = 1.1
_BUDGET: Final = 40
_POOLS: Final = 4
_BUDGET_OF_EACH_POOL: Final = 20
_WARM_UP_REQUESTS: Final = 300


@dataclass(frozen=True, kw_only=True)
class Size:
    """The goal's two contenders play in every round, the others in each ``every``-th."""

    tenants: int
    rounds: int
    every: int
    seconds: float


_FULL: Final = Size(tenants=500, rounds=15, every=3, seconds=3.0)
_QUICK: Final = Size(tenants=200, rounds=4, every=4, seconds=1.5)


@dataclass(kw_only=True)
class Act:
    """One contender with its requests, and what came of them, round by round."""

    name: str
    make: Callable[[], Contender]
    draw: Draw
    warm_up: Sequence[House]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    checkouts: int = 0
    most_open: int = 0
    most_sessions: int = 0

    def play(self, stage: Stage, *, number: int, seconds: float) -> None:
        contender = self.make()
        with watched(stage.admin_url) as watch:
            try:
                self.errors += visit(contender, self.warm_up).errors
                before = _counts(contender)
                used = effort.cpu_seconds(stage.server_pid)
                outcome = drive(contender, self.draw, seconds=seconds, seed=number)
                outcome.cpu_seconds = effort.cpu_seconds(stage.server_pid) - used
                self._remember(contender, _counts(contender) - before)
            finally:
                contender.close()
            self.outcomes[number] = outcome
            self.errors += outcome.errors
            self.most_sessions = max([self.most_sessions, *watch.samples])
            watch.wait_until_none()

    def _remember(self, contender: Contender, counts: Counter[str]) -> None:
        self.hits += counts["hits"]
        self.checkouts += counts["hits"] + counts["opened"]
        if isinstance(contender, Budgeted):
            self.most_open = max(self.most_open, contender.most_open())

    @property
    def rates(self) -> list[float]:
        return [outcome.per_second for outcome in self.outcomes.values()]

    def throughput_to(self, peer: "Act") -> list[float]:
        """Ratios, of each round that both played in."""
        return [ours.per_second / theirs.per_second for ours, theirs in self._beside(peer)]

    def cpu_to(self, peer: "Act") -> list[float]:
        """Ratios of the processor time per request, client and server together."""
        return [
            ours.cpu_per_request / theirs.cpu_per_request for ours, theirs in self._beside(peer)
        ]

    def _beside(self, peer: "Act") -> list[tuple[Outcome, Outcome]]:
        both = self.outcomes.keys() & peer.outcomes.keys()
        return [(self.outcomes[number], peer.outcomes[number]) for number in sorted(both)]

    @property
    def hit_rate(self) -> float:
        return self.hits / self.checkouts


def _counts(contender: Contender) -> Counter[str]:
    return contender.counts if isinstance(contender, Budgeted | Spread) else Counter()


@dataclass(frozen=True, kw_only=True)
class Programme:
    budget: Act
    per_request: Act
    per_request_password: Act
    one_tenant: Act
    engine_per_tenant: Act
    anywhere: Act
    affinity: Act

    @property
    def acts(self) -> list[Act]:
        return list(vars(self).values())

    @property
    def goal(self) -> list[Act]:
        return [self.budget, self.per_request]


def measure(stage: Stage, *, quick: bool) -> list[Figure]:
    size = _QUICK if quick else _FULL
    houses = build(stage, size.tenants)
    grown = memory.measure(stage, houses)  # first, while the process is small
    programme = _programme(stage, houses)
    for number in range(size.rounds):
        acts = programme.goal if number % size.every else programme.acts
        for act in acts if number % 2 else reversed(acts):
            act.play(stage, number=number, seconds=size.seconds)
    return [*_report(programme), *grown]


def _programme(stage: Stage, houses: Sequence[House]) -> Programme:
    server = stage.manager.server
    zipf = Zipf(houses, _EXPONENT)
    usual = [zipf(random.Random(number)) for number in range(_WARM_UP_REQUESTS)]
    budget = partial(Budgeted, stage, budget=_BUDGET)
    spread = partial(Spread, stage, pools=_POOLS, budget=_BUDGET_OF_EACH_POOL)
    act = partial(Act, draw=zipf, warm_up=usual)
    return Programme(
        budget=act(name=f"the product, {_BUDGET} connections", make=budget),
        per_request=act(
            name="a connection per request", make=partial(PerRequest, server, with_keys)
        ),
        per_request_password=act(
            name="a connection per request, by password",
            make=partial(PerRequest, server, with_password),
        ),
        one_tenant=Act(
            name="the product, one hot tenant",
            make=budget,
            draw=lambda _: houses[0],
            warm_up=[houses[0]] * _WARM_UP_REQUESTS,
        ),
        engine_per_tenant=act(
            name="an engine per tenant",
            make=partial(EnginePerTenant, server),
            warm_up=houses,  # a process that has been up for a while has seen them all
        ),
        anywhere=act(
            name=f"{_POOLS} pools of {_BUDGET_OF_EACH_POOL}, any",
            make=partial(spread, affinity=False),
        ),
        affinity=act(
            name=f"{_POOLS} pools of {_BUDGET_OF_EACH_POOL}, by tenant",
            make=partial(spread, affinity=True),
        ),
    )


def _report(played: Programme) -> list[Figure]:
    budget = played.budget
    throughput = [
        Figure(
            name=act.name,
            value=median(act.rates),
            unit="requests/s",
            note="; ".join([middle(act.rates), *_details(act)]),
        )
        for act in played.acts
    ]
    return [
        *throughput,
        ratio(
            "product / connection per request",
            budget.throughput_to(played.per_request),
            goal=at_least(1.5),
        ),
        *_cpu(budget, played.per_request),
        ratio(
            "product / connection per request, by password",
            budget.throughput_to(played.per_request_password),
        ),
        ratio("product / one hot tenant", budget.throughput_to(played.one_tenant)),
        ratio("product / engine per tenant", budget.throughput_to(played.engine_per_tenant)),
        ratio("by tenant / any", played.affinity.throughput_to(played.anywhere)),
        Figure(
            name="errors of the product",
            value=sum(sum(act.errors.values()) for act in (budget, played.one_tenant)),
            goal=at_most(0),
        ),
        Figure(
            name="most connections the product had open",
            value=budget.most_open,
            goal=at_most(_BUDGET),
            note=f"the server saw at most {budget.most_sessions}, with those that were ending",
        ),
    ]


def _cpu(ours: Act, peer: Act) -> list[Figure]:
    if not effort.can_be_measured():
        return []
    return [ratio("product / connection per request, CPU", ours.cpu_to(peer))]


def _details(act: Act) -> list[str]:
    found = [f"hit rate {act.hit_rate:.2f}"] if act.checkouts else []
    found += [f"{count} {name}" for name, count in act.errors.most_common()]
    if act.errors:
        found.append(f"of {MAX_CONNECTIONS} allowed, {act.most_sessions} sessions")
    return found
