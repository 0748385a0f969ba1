"""The rules of charging, for a test to compare with: dicts and whole numbers, no
database.

A state is a mapping from keys to what is there, None: nothing.

    "account", name                  Account
    "override", name, feature, period    (limit, expires)
    "used", *counter                 units charged, without what is only held
    "holds", *counter                {reservation: (units, expires)}
    "alerted", *counter              thresholds told of: 1 warn, 2 the limit as well
    "reservation", name, number      Reservation
    "key", name, key                 (call, answer)
    "event", name, feature, serial   (units, whether they were refused)
    "alert", *counter, serial        "warn" or "limit"
    "row", table, id                 Row

A counter is (owner, feature, period, start of the window in seconds since 1970).
"""

import itertools
import math
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import NamedTuple, Optional

# Every plan has the features of attached tables by the same periods, so that
# their rows can be counted by them.
CATALOGUE = {
    "features": {
        "scan": {"kind": "counter"}, "page": {"kind": "counter"},
        "token": {"kind": "counter", "ledger": True}, "extra": {"kind": "counter"},
        "level": {"kind": "gauge", "ledger": True},
        "post": {"kind": "counter"}, "slip": {"kind": "counter"}, "mark": {"kind": "counter"},
        "run": {"kind": "counter"},
        "job": {"kind": "counter", "ledger": True},
        "disk": {"kind": "gauge", "ledger": True}, "text": {"kind": "gauge"},
    },
    "plans": {
        "free": {"default": True, "limits": {
            "scan": {"day": {"limit": 4}, "month": {"limit": 9}},
            "page": {"hour": {"limit": 3, "block_ratio": 1.5}, "lifetime": {"limit": 60}},
            "token": {"month": {"limit": 30, "on_limit": "warn"}},
            "level": {"lifetime": {"limit": 6}},
            "post": {"month": {"limit": 8}},
            "slip": {"month": {"limit": 8}},
            "mark": {"month": {"limit": 8, "block_ratio": 0.8}},
            "run": {"month": {"limit": 9}},
            "job": {"day": {"limit": 5}, "month": {"limit": 12}},
            "disk": {"lifetime": {"limit": 15}},
            "text": {"lifetime": {"limit": 30}}}},
        "pro": {"limits": {
            "scan": {"day": {"limit": 12, "on_limit": "charge", "overage_cap": 5}},
            "page": {"hour": {"limit": 9}, "year": {"limit": None}},
            "token": {"day": {"limit": 40}, "month": {"limit": None}},
            "extra": {"month": {"limit": 5}},
            "level": {"lifetime": {"limit": 12}},
            "post": {"month": {"limit": 20}},
            "slip": {"month": {"limit": 20}},
            "mark": {"month": {"limit": 20, "on_limit": "charge", "overage_cap": 0}},
            "run": {"month": {"limit": 18}},
            "job": {"day": {"limit": 12}, "month": {"limit": 40}},
            "disk": {"lifetime": {"limit": 40, "block_ratio": 1.2}},
            "text": {"lifetime": {"limit": None}}}},
    },
}
PERIODS = ("hour", "day", "month", "year", "lifetime")
BYPASS = "boss"
serials = itertools.count()


class Denied(Exception):
    """What the server must raise: the argument is the SQLSTATE."""


class Account(NamedTuple):
    plan: Optional[str] = None
    ends: Optional[datetime] = None
    suspended: bool = False
    pool: Optional[str] = None


class Window(NamedTuple):
    owner: str  # whose counter it is
    period: str
    limit: dict

    def counter(self, feature, at):
        return self.owner, feature, self.period, window_start(self.period, at)


class Verdict(NamedTuple):
    decision: str
    reason: str
    window: Window  # the tightest
    counter: tuple  # in it
    in_plan: bool


class Answer(NamedTuple):
    """What a call returns: the columns of that name."""
    decision: str
    allowed: bool
    used: int
    usage_limit: Optional[int]
    remaining: Optional[int]
    period: Optional[str]
    reason: str


class Reservation(NamedTuple):
    feature: str
    units: int
    at: datetime
    expires: datetime
    counters: tuple


class Row(NamedTuple):
    owner: str
    n: int
    status: str
    charged_at: datetime


def kind(feature):
    return CATALOGUE["features"][feature]["kind"]


def account_of(state, name):
    return state.get(("account", name)) or Account()


def window_start(period, now):
    """None: -infinity."""
    if period == "lifetime":
        return None
    first = {"hour": dict(minute=0), "day": dict(hour=0, minute=0),
             "month": dict(day=1, hour=0, minute=0),
             "year": dict(month=1, day=1, hour=0, minute=0)}[period]
    return int(now.replace(second=0, microsecond=0, **first).timestamp())


def window_end(period, now):
    """Infinite: lifetime."""
    if period == "lifetime":
        return math.inf
    longest = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=31), "year": timedelta(days=366)}
    start = datetime.fromtimestamp(window_start(period, now), timezone.utc)
    return window_start(period, start + longest[period])


# What an account may have

def own_plan(state, name, now):
    plan, ends, *_ = account_of(state, name)
    return None if ends is not None and ends <= now else plan


def own_windows(state, name, feature, now, plan, terms):
    """Those of its own plan, if any, and of its overrides, on the terms of a plan."""
    offers = {None: {}} | {p: d["limits"].get(feature, {}) for p, d in CATALOGUE["plans"].items()}
    limits = dict(offers[plan])
    for period in PERIODS:
        limit, expires = state.get(("override", name, feature, period)) or (None, now)
        if expires is None or expires > now:
            limits[period] = {**offers[terms].get(period, {}), "limit": limit}
    return [Window(name, period, limits[period]) for period in PERIODS if period in limits]


def windows(state, name, feature, now):
    """What the account is charged in, its pool's first, and whether that is in its plan."""
    pool, plan = account_of(state, name).pool, own_plan(state, name, now)
    if pool is None:
        found = own_windows(state, name, feature, now, plan or "free", plan or "free")
    else:
        pools = own_plan(state, pool, now) or "free"
        found = (own_windows(state, pool, feature, now, pools, pools)
                 + own_windows(state, name, feature, now, plan, plan or pools))
    return found or [Window(name, "lifetime", {"limit": None})], bool(found)


def most(limit):
    """The greatest use that a window allows; infinite where nothing is refused."""
    if limit["limit"] is None or limit.get("on_limit") == "warn":
        return math.inf
    if limit.get("on_limit") == "charge":
        return limit["limit"] + limit.get("overage_cap", math.inf)
    return math.floor(limit["limit"] * Fraction(str(limit.get("block_ratio", 1))))


def is_bypassed(state, name):
    return BYPASS in (name, account_of(state, name).pool)


def is_suspended(state, name):
    account = account_of(state, name)
    return account.suspended or account.pool is not None and account_of(state, account.pool).suspended


def level(state, counter, now):
    """What is used, with what is held and has not expired; now None: with all that is held."""
    holds = state.get(("holds", *counter)) or {}
    return (state.get(("used", *counter)) or 0) + sum(
        units for units, expires in holds.values() if now is None or expires > now)


def judge(state, name, feature, n, now, at=None):
    """The verdict on n more units in the windows of a time, by the tightest of them."""
    found, in_plan = windows(state, name, feature, now)
    verdicts = []
    for window in found:
        counter = window.counter(feature, at or now)
        if is_suspended(state, name):
            verdict = "BLOCK", "suspended"
        elif is_bypassed(state, name):
            verdict = "ALLOW", "bypass"
        elif not in_plan:
            verdict = "BLOCK", "not_in_plan"
        else:
            verdict = judge_window(window.limit, level(state, counter, now), n)
        verdicts.append(Verdict(*verdict, window, counter, in_plan))

    def tightness(verdict):
        """The least comes first: the worst; of denials that which lasts longest, otherwise where least is left."""
        if verdict.decision == "BLOCK":
            return -2, -window_end(verdict.window.period, at or now)
        left = remaining(verdict.window.limit["limit"], level(state, verdict.counter, now))
        return -(verdict.decision == "ALLOW_WITH_WARNING"), math.inf if left is None else left

    return min(verdicts, key=tightness)


def judge_window(terms, used, n):
    limit = terms["limit"]
    if used + n > most(terms):
        return "BLOCK", "limit_reached"
    if limit is None:
        return "ALLOW", "unlimited"
    if used + n > limit:
        return "ALLOW_WITH_WARNING", over(terms)
    if used >= limit * Fraction(4, 5):
        return "ALLOW_WITH_WARNING", "near_limit"
    return "ALLOW", "ok"


def over(terms):
    return "overage" if terms.get("on_limit") == "charge" else "soft_limit"


def remaining(limit, used):
    return None if limit is None else max(0, limit - used)


def whatever(verdict):
    """Of what is done whatever the limit says."""
    if verdict.decision != "BLOCK":
        return verdict
    reason = over(verdict.window.limit) if verdict.reason == "limit_reached" else verdict.reason
    return verdict._replace(decision="ALLOW_WITH_WARNING", reason=reason)


def answer(state, verdict, now):
    """A verdict, with the figures as they are now."""
    decision, reason, window, counter, in_plan = verdict
    if decision == "BLOCK" and not in_plan:
        return Answer(decision, False, 0, 0, 0, None, reason)
    used, limit = level(state, counter, now), window.limit["limit"]
    return Answer(decision, decision != "BLOCK", used, limit, remaining(limit, used), window.period, reason)


def refusal(state, name, feature, n, now):
    """The SQLSTATE with which n units are refused; None: there is room."""
    verdict = judge(state, name, feature, n, now)
    codes = {"suspended": "PT403", "not_in_plan": "PT402", "limit_reached": "PT429"}
    return codes[verdict.reason] if verdict.decision == "BLOCK" else None


# Charging

def charge(state, name, feature, n, now, hold=None):
    """Add n units to every window; hold: the number of a reservation, and when it expires."""
    counters = []
    for window in windows(state, name, feature, now)[0]:
        counter = window.counter(feature, now)
        counters.append(counter)
        # what has expired is given back for good by the next charge
        holds = {number: held for number, held in (state.get(("holds", *counter)) or {}).items() if held[1] > now}
        if hold:
            holds[hold[0]] = n, hold[1]
        state["holds", *counter] = holds
        state["used", *counter] = (state.get(("used", *counter)) or 0) + (0 if hold else n)
        tell(state, name, window, counter, rising=True)
    note(state, name, feature, n)
    return tuple(counters)


def evaluate(state, name, feature, n, now):
    return answer(state, judge(state, name, feature, n, now), now)


def consume(state, name, feature, n, now):
    """Charge where there is room."""
    verdict = judge(state, name, feature, n, now)
    if verdict.decision == "BLOCK":
        note(state, name, feature, n, refused=True)
    else:
        charge(state, name, feature, n, now)
    return answer(state, verdict, now)


def consume_many(state, name, amounts, now):
    """All or none; the answers by feature."""
    verdicts = {feature: judge(state, name, feature, n, now) for feature, n in amounts.items()}
    refused = [feature for feature, verdict in verdicts.items() if verdict.decision == "BLOCK"]
    for feature, n in amounts.items():
        if not refused:
            charge(state, name, feature, n, now)
        elif feature in refused:
            note(state, name, feature, n, refused=True)
    return {feature: answer(state, verdict, now) for feature, verdict in verdicts.items()}


def enforce(state, name, feature, n, now):
    if error := refusal(state, name, feature, n, now):
        raise Denied(error)
    return consume(state, name, feature, n, now)


def record(state, name, feature, n, now):
    verdict = whatever(judge(state, name, feature, n, now))
    charge(state, name, feature, n, now)
    return answer(state, verdict, now)


def give_back(state, name, feature, n, at, now):
    """To the windows of then, by the plan of now: to none more than is used."""
    given = 0
    for window in windows(state, name, feature, now)[0]:
        counter = window.counter(feature, at)
        units = min(n, state.get(("used", *counter)) or 0)
        if units:
            state["used", *counter] = state.get(("used", *counter)) - units
        tell(state, name, window, counter, rising=False)
        given = max(given, units)
    if given:
        note(state, name, feature, -given)
    return as_it_is(state, name, feature, at, now)


def as_it_is(state, name, feature, at, now):
    """The answer to what has been done, in the windows of a time."""
    return answer(state, whatever(judge(state, name, feature, 0, now, at)), now)


def tell(state, name, window, counter, rising):
    """Of the thresholds that a counter has come to, each once; a gauge that has fallen tells anew."""
    limit, key = window.limit["limit"], ("alerted", *counter)
    if limit is None or is_bypassed(state, name):
        return
    used, told = level(state, counter, None), state.get(key) or 0
    reached = 2 if used >= limit else 1 if used >= math.ceil(limit * Fraction(4, 5)) else 0
    if rising and reached > told:
        for threshold in range(told, reached):
            state["alert", *counter, next(serials)] = ("warn", "limit")[threshold]
        state[key] = reached
    elif reached == 0 and told and kind(counter[1]) == "gauge":
        state[key] = 0


def note(state, name, feature, units, refused=False):
    if CATALOGUE["features"][feature].get("ledger"):
        state["event", name, feature, next(serials)] = units, refused


# Reservations

def reserve(state, name, feature, n, now, ttl, number):
    """number: what the server has given it. Returns that, or None where there was no room, and the answer."""
    verdict = judge(state, name, feature, n, now)
    if verdict.decision == "BLOCK":
        note(state, name, feature, n, refused=True)
        return None, answer(state, verdict, now)
    counters = charge(state, name, feature, n, now, (number, now + ttl))
    state["reservation", name, number] = Reservation(feature, n, now, now + ttl, counters)
    return number, answer(state, verdict, now)


def settle(state, name, number, actual, now):
    """actual None: all that it holds."""
    reservation = state.get(("reservation", name, number))
    if reservation is None:
        raise Denied("42704")
    holds = [state.get(("holds", *counter)) or {} for counter in reservation.counters]
    if reservation.expires <= now or not all(number in held for held in holds):
        raise Denied("55000")
    units = reservation.units if actual is None else actual
    for counter, held in zip(reservation.counters, holds):
        state["holds", *counter] = {other: held[other] for other in held if other != number}
        state["used", *counter] = (state.get(("used", *counter)) or 0) + units
    state["reservation", name, number] = None
    note(state, name, reservation.feature, units - reservation.units)
    return as_it_is(state, name, reservation.feature, reservation.at, now)


def reset(state, name, features, now):
    """The current windows of the account's own counters, whatever is on them."""
    for feature in features:
        for period in PERIODS:
            counter = name, feature, period, window_start(period, now)
            for what, nothing in (("used", 0), ("holds", {}), ("alerted", 0)):
                if state.get((what, *counter)):
                    state[what, *counter] = nothing


# Rows of attached tables

class Attached(NamedTuple):
    on_block: str = "raise"
    follows: bool = False  # what becomes of a row: a gauge, or a counter with counted_when
    factor: int = 1
    plus: int = 0
    counted_when: bool = False  # whether a row that has failed does not count
    mark_when: str = ""  # what the owners are called whose rows are marked

    def units(self, row):
        if row.status == "skipped" or self.counted_when and row.status == "failed":
            return 0
        return row.n * self.factor + self.plus


ATTACHED = {
    "post": Attached(), "slip": Attached("skip"), "mark": Attached("mark"),
    "run": Attached("mark", mark_when="a"),
    "job": Attached(follows=True, counted_when=True),
    "disk": Attached(follows=True),
    "text": Attached("skip", follows=True, factor=2, plus=1, counted_when=True),
}


class Changes:
    """What a statement does to accounts, which are charged at its end."""

    def __init__(self, feature, now):
        self.feature, self.attached, self.now = feature, ATTACHED[feature], now
        self.units = {}
        self.refunds = {}  # of an account the units of each time

    def add(self, row, sign=1):
        self.units[row.owner] = self.units.get(row.owner, 0) + sign * self.attached.units(row)

    def change(self, before, after):
        """Either is None where there is none; the row as it is then to be kept."""
        was = self.attached.units(before) if before else 0
        becomes = self.attached.units(after) if after else 0
        if kind(self.feature) == "gauge":
            if before:
                self.add(before, -1)
            if after:
                self.add(after)
        elif after and (was != becomes or was and before.owner != after.owner):
            if was:
                times = self.refunds.setdefault(before.owner, {})
                times[before.charged_at] = times.get(before.charged_at, 0) + was
            self.add(after)
            after = after._replace(charged_at=self.now)
        return after

    def settle(self, state):
        """A pool before its members, of these those first that only give back."""
        def order(name):
            pool = account_of(state, name).pool
            return pool or name, pool is not None, self.units.get(name, 0) > 0, name

        for name in sorted(self.units.keys() | self.refunds.keys(), key=order):
            for at, units in sorted(self.refunds.get(name, {}).items()):
                give_back(state, name, self.feature, units, at, self.now)
            units = self.units.get(name, 0)
            if units > 0:
                enforce(state, name, self.feature, units, self.now)
            elif units < 0:
                give_back(state, name, self.feature, -units, self.now, self.now)


def counted_rows(rows, feature, counters):
    """What the rows of an attached table come to, by counter; counters: (owner of rows, whose counter, period)."""
    sums = {}
    for row in rows:
        for owner, account, period in counters:
            if owner == row.owner:
                counter = account, feature, period, window_start(period, row.charged_at)
                sums[counter] = sums.get(counter, 0) + ATTACHED[feature].units(row)
    return sums
