"""Decisions against a model of the rules with exact arithmetic, random input.

A case is an account and a feature with its own limits, use and amount.  The
catalogue, accounts and use are made by COPY, and the server decides all cases
in one statement.
"""

import math
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from fractions import Fraction

from _harness import check, connect, equal, finish, seeded

BIGGEST = 2**63 - 1
NOW = datetime(2026, 3, 18, 10, 37, 21, 123456, timezone.utc)  # a Wednesday

# of every period but lifetime: the window of NOW
WINDOWS = {
    "hour": (datetime(2026, 3, 18, 10), datetime(2026, 3, 18, 11)),
    "day": (datetime(2026, 3, 18), datetime(2026, 3, 19)),
    "week": (datetime(2026, 3, 16), datetime(2026, 3, 23)),
    "month": (datetime(2026, 3, 1), datetime(2026, 4, 1)),
    "year": (datetime(2026, 1, 1), datetime(2027, 1, 1)),
    "cycle": (datetime(2026, 3, 1), datetime(2026, 4, 1)),
}
WINDOWS = {
    period: tuple(edge.replace(tzinfo=timezone.utc) for edge in edges)
    for period, edges in WINDOWS.items()
}
WINDOWS["lifetime"] = (None, None)
PERIODS = ["hour", "day", "week", "month", "year", "lifetime", "cycle"]

PLANS = 24
FEATURES = 60
GAUGES = 5  # of the features: they have no window but lifetime
ACCOUNTS = 340

Limit = namedtuple("Limit", "limit on_limit warn block cap")
DEFAULT = Limit(None, "block", Fraction(8, 10), Fraction(1), None)
Account = namedtuple(
    "Account", "name plan status trial_ends plan_ends next_plan bypass stored"
)
Window = namedtuple("Window", "period limit used verdict reason")

FIGURES = ("plan", "period", "decision", "allowed", "used", "usage_limit",
           "remaining", "overage", "period_start", "period_end", "reason")


# The rules

def effective_plan(account):
    if account.status == "canceled":
        return "default"
    over = (account.plan_ends is not None and account.plan_ends <= NOW) or (
        account.status == "trialing"
        and account.trial_ends is not None and account.trial_ends <= NOW)
    return (account.next_plan if over else account.plan) or "default"


def judge(limit, used, n):
    after = used + n
    if after > BIGGEST:
        raise OverflowError
    if limit.limit is None:
        return "ALLOW", "unlimited"
    if limit.on_limit == "block":
        if after > math.floor(limit.limit * limit.block):
            return "BLOCK", "limit_reached"
    elif limit.on_limit == "charge" and limit.cap is not None:
        if after > limit.limit + limit.cap:
            return "BLOCK", "limit_reached"
    if after > limit.limit:
        return "ALLOW_WITH_WARNING", (
            "overage" if limit.on_limit == "charge" else "soft_limit")
    if used >= limit.warn * limit.limit:
        return "ALLOW_WITH_WARNING", "near_limit"
    return "ALLOW", "ok"


def judge_all(account, limits, use, n):
    """The windows of a case, each with its verdict."""
    windows = []
    for period in PERIODS:
        if period in limits:
            used = use.get(period, 0)
            if account.status == "suspended":
                verdict, reason = "BLOCK", "suspended"
            else:
                verdict, reason = judge(limits[period], used, n)
            if account.bypass and reason != "suspended":
                verdict, reason = "ALLOW", "bypass"
            windows.append(Window(period, limits[period], used, verdict, reason))
    return windows


def remaining(window):
    if window.limit.limit is None:
        return None
    return max(0, window.limit.limit - window.used)


def tightness(window):
    """Sorts the tightest first."""
    verdict = -["ALLOW", "ALLOW_WITH_WARNING", "BLOCK"].index(window.verdict)
    if window.verdict == "BLOCK":
        # the one that denies longest
        end = WINDOWS[window.period][1]
        return verdict, -end.timestamp() if end else -math.inf, \
            PERIODS.index(window.period)
    left = remaining(window)
    return verdict, math.inf if left is None else left, \
        PERIODS.index(window.period)


def figures(plan, window):
    """A window as a row with the columns FIGURES, and its ratio."""
    limit = window.limit.limit
    start, end = WINDOWS[window.period]
    row = (
        plan, window.period, window.verdict, window.verdict != "BLOCK",
        window.used, limit, remaining(window),
        0 if limit is None else max(0, window.used - limit),
        start, end, window.reason,
    )
    if limit is None:
        return row, None
    return row, float(Fraction(window.used, limit)) if limit else 1.0


def without_limits(account, plan):
    """Of a feature that neither the plan nor an override names."""
    reason = "suspended" if account.status == "suspended" else "not_in_plan"
    return (plan, None, "BLOCK", False, 0, 0, 0, 0, None, None, reason), 1.0


def decide(account, plan, limits, use, n, charged=0):
    """The decision for n units: (row, ratio)."""
    if not limits:
        if account.status == "suspended" or not account.bypass:
            return without_limits(account, plan)
        # counted for good, for those who pass every limit
        limits = {"lifetime": DEFAULT}
    tightest = min(judge_all(account, limits, use, n), key=tightness)
    return figures(plan, tightest._replace(used=tightest.used + charged))


def consume(account, plan, limits, use, n):
    """The decision, and the use of each window after it."""
    denial = decide(account, plan, limits, use, n)
    if not denial[0][FIGURES.index("allowed")]:
        return denial, use
    after = dict(use)
    for period in limits or ["lifetime"]:
        after[period] = use.get(period, 0) + n
    return decide(account, plan, limits, use, n, n), after


# Random input

def random_ratio(rng):
    return rng.choice((
        lambda: rng.choice(("0", "0.1", "0.5", "0.8", "1", "1.0", "1.1", "2")),
        lambda: f"{rng.randrange(3)}.{rng.randrange(100):02}",
        lambda: f"0.{rng.randrange(10**19):019}",
        lambda: "0." + "9" * rng.randint(1, 30),
        lambda: "1." + "0" * rng.randint(1, 30) + "1",
        lambda: f"{rng.randrange(10**20)}.{rng.randrange(10**6):06}",
    ))()


def random_limit(rng):
    limit = rng.choice((
        lambda: None,
        lambda: rng.choice((0, 1, 2)),
        lambda: rng.randrange(20),
        lambda: rng.randrange(2000),
        lambda: 10 ** rng.randrange(19),
        lambda: 2 ** rng.choice((31, 32, 53, 62)) + rng.randint(-3, 3),
        lambda: BIGGEST - rng.randrange(4),
    ))()
    cap = rng.choice((None, 0, 1, rng.randrange(100), rng.randrange(2**63)))
    return limit, rng.choice(("block", "block", "warn", "charge")), \
        random_ratio(rng), random_ratio(rng), cap


def edges(limit):
    """Uses at which the verdict of a limit turns."""
    if limit.limit is None:
        return [0, BIGGEST]
    return [
        limit.limit, math.floor(limit.limit * limit.block),
        math.ceil(limit.limit * limit.warn),
        limit.limit + (limit.cap or 0), 0, BIGGEST,
    ]


def near(rng, value):
    value += rng.choice((0, 0, -1, 1, rng.randint(-20, 20)))
    return min(max(value, 0), BIGGEST)


def random_use(rng, limits):
    """Use by window; windows without a row are missing."""
    use = {}
    for period in rng.sample(PERIODS, rng.randrange(3)):
        use[period] = rng.randrange(100)  # perhaps of no window in force
    for period, limit in limits.items():
        kind = rng.randrange(5)
        if kind == 0:
            use.pop(period, None)
        elif kind < 3:
            use[period] = near(rng, rng.choice(edges(limit)))
        else:
            use[period] = rng.randint(0, limit.limit or 10**6)
    return use


def random_amount(rng, limits, use):
    n = rng.choice((1, 1, 2, rng.randint(1, 50), rng.randint(1, BIGGEST)))
    if limits and rng.random() < 0.7:
        period = rng.choice(list(limits))
        used = use.get(period, 0)
        edge = rng.choice(edges(limits[period]))
        n = near(rng, edge - used) if edge >= used else n
    return max(n, 1)


def random_time(rng):
    return NOW + rng.choice((
        timedelta(0), timedelta(microseconds=1), timedelta(microseconds=-1),
        timedelta(days=rng.randint(-90, 90), seconds=rng.randrange(86400)),
    ))


def random_account(rng, number):
    plans = [f"plan-{i}" for i in range(1, PLANS)]
    status = rng.choice(("active",) * 12 + (
        "trialing", "trialing", "past_due", "suspended", "canceled"))
    return Account(
        f"account-{number}",
        rng.choice([None] + plans * 2),
        status,
        rng.choice((None, random_time(rng))),
        rng.choice((None,) * 6 + (random_time(rng),)),
        rng.choice([None] + plans),
        rng.random() < 0.06,
        True,
    )


class World:
    """The catalogue, the accounts, and what the model makes of them."""

    def __init__(self, rng, connection):
        self.plans = ["default"] + [f"plan-{i}" for i in range(1, PLANS)]
        self.features = [f"feature-{i}" for i in range(FEATURES)]
        self.gauges = self.features[:GAUGES]
        self.limits = {}  # (plan, feature) -> {period: Limit}
        self.accounts = []
        self.overrides = {}  # (account, feature) -> [(period, limit, expires)]
        self.cases = []  # (account, feature, effective limits)
        self.use = {}  # (account, feature) -> {period: used}
        self.make(rng, connection)

    def make(self, rng, connection):
        rows = []
        for plan in self.plans:
            for feature in self.features:
                if rng.random() < 0.05:
                    continue
                windows = self.limits[plan, feature] = {}
                for period in self.periods(rng, feature, (1, 1, 1, 2, 3, 4)):
                    limit, on_limit, warn, block, cap = random_limit(rng)
                    windows[period] = Limit(
                        limit, on_limit, Fraction(warn), Fraction(block), cap)
                    rows.append((plan, feature, period, limit, on_limit,
                                 warn, block, cap))
        copy(connection, "quota.plans (plan, name, is_default)",
             [(plan, plan, plan == "default") for plan in self.plans])
        copy(connection, "quota.features (feature, kind)",
             [(feature, "gauge" if feature in self.gauges else "counter")
              for feature in self.features])
        copy(connection, "quota.plan_limits (plan, feature, period, usage_limit,"
             " on_limit, warn_ratio, block_ratio, overage_cap)", rows)

        self.accounts = [random_account(rng, i) for i in range(ACCOUNTS)] + [
            # some have no row
            Account(f"stranger-{i}", None, "active", None, None, None, False, False)
            for i in range(ACCOUNTS // 20)
        ]
        copy(connection, "quota.accounts (account, plan, status, trial_ends_at,"
             " plan_ends_at, next_plan, bypass)",
             [account[:-1] for account in self.accounts if account.stored])

        rows = []
        for account in self.accounts:
            for feature in self.features:
                plan = effective_plan(account)
                limits = dict(self.limits.get((plan, feature), {}))
                for period in self.periods(rng, feature, (0,) * 9 + (1, 2)):
                    limit, *_ = random_limit(rng)
                    expires = rng.choice((None, random_time(rng)))
                    rows.append((account.name, feature, period, limit, expires))
                    if expires is None or expires > NOW:
                        limits[period] = limits.get(period, DEFAULT)._replace(
                            limit=limit)
                self.cases.append((account, feature, limits))
                self.use[account.name, feature] = random_use(rng, limits)
        copy(connection, "quota.limit_overrides (account, feature, period,"
             " usage_limit, expires_at)", rows)
        copy(connection, "quota.usage (account, feature, period, period_start,"
             " used)", self.usage_rows())

    def periods(self, rng, feature, counts):
        """A random choice of a feature's periods, of one of these sizes."""
        count = rng.choice(counts)
        if feature in self.gauges:
            return ["lifetime"][:count]
        return rng.sample(PERIODS, count)

    def usage_rows(self):
        return sorted(
            (account, feature, period, WINDOWS[period][0] or "-infinity", used)
            for (account, feature), use in self.use.items()
            for period, used in use.items()
        )


def copy(connection, target, rows):
    with connection.cursor().copy(f"COPY {target} FROM STDIN") as stream:
        for row in rows:
            stream.write_row(row)


# Both side by side

# An error is a row whose reason is its SQLSTATE.
PREPARE = """
CREATE FUNCTION attempt(charging boolean, account text, feature text, n bigint)
RETURNS quota_decision LANGUAGE plpgsql AS $$
DECLARE
    decision quota_decision;
BEGIN
    IF charging THEN
        RETURN quota_consume(account, feature, n);
    END IF;
    RETURN quota_evaluate(account, feature, n);
EXCEPTION WHEN OTHERS THEN
    decision.reason := SQLSTATE;
    RETURN decision;
END $$;
CREATE TABLE cases (id int PRIMARY KEY, account text, feature text, n bigint);
"""


def ask(connection, charging, cases):
    """The server's decisions for (account, feature, n), by position."""
    connection.execute("TRUNCATE cases")
    copy(connection, "cases", [(i, *case) for i, case in enumerate(cases)])
    return connection.execute(
        f"SELECT {', '.join('d.' + column for column in FIGURES)}, "
        "d.ratio, d.account, d.feature, d.retry_after, d.message "
        "FROM (SELECT * FROM cases ORDER BY id) c, "
        "LATERAL attempt(%s, c.account, c.feature, c.n) d ORDER BY c.id",
        (charging,),
    ).fetchall()


def same(row, expected):
    """What differs between the server's row and the model's."""
    figures, ratio = expected
    differences = [
        f"{name}: got {got!r}, expected {want!r}"
        for name, got, want in zip(FIGURES, row, figures) if got != want
    ]
    got = row[len(FIGURES)]
    if (got is None) != (ratio is None) or (
            ratio is not None and not math.isclose(got, ratio, rel_tol=1e-15)):
        differences.append(f"ratio: got {got!r}, expected {ratio!r}")
    return differences


def waiting_helps(limit, n):
    """Whether an empty window has room for n."""
    return judge(limit, 0, n)[0] != "BLOCK"


def extras(row, case, n):
    """The columns that are no figures: account, feature, retry_after, message."""
    account, feature, retry_after, message = row[len(FIGURES) + 1:]
    decision = dict(zip(FIGURES, row))
    differences = []
    if (account, feature) != (case[0].name, case[1]):
        differences.append(f"it is about {account}, {feature}")
    expected = None
    if (decision["reason"] == "limit_reached" and decision["period_end"]
            and waiting_helps(case[2][decision["period"]], n)):
        expected = decision["period_end"] - NOW
    if retry_after != expected:
        differences.append(f"retry_after: got {retry_after}, expected {expected}")
    if not message:
        differences.append(f"message: got {message!r}")
    elif decision["reason"] in ("near_limit", "limit_reached"):
        figures = f"{decision['used']}/{decision['usage_limit']}"
        if figures not in message:
            differences.append(f"message without {figures}: {message}")
    return differences


def compare(name, cases, amounts, uses, rows, expected):
    wrong = []
    for case, n, use, row, want in zip(cases, amounts, uses, rows, expected):
        if want == "22003":
            differences = [] if row[FIGURES.index("reason")] == want else [
                f"got {row}, expected error {want}"]
        else:
            differences = same(row, want) + extras(row, case, n)
        if differences:
            wrong.append("\n".join(
                [f"{case[0]}", f"  {case[1]} n={n} use={use}"] +
                [f"  {period}: {limit}" for period, limit in case[2].items()] +
                [f"  * {d}" for d in differences]))
    check(not wrong, name, f"{len(wrong)} differ; the first of them:", *wrong[:5])


def attempt(decision, *arguments):
    try:
        return decision(*arguments)
    except OverflowError:
        return "22003"


def test_evaluate(rng, connection, world):
    cases = world.cases
    uses = [world.use[case[0].name, case[1]] for case in cases]
    amounts = [random_amount(rng, c[2], u) for c, u in zip(cases, uses)]
    rows = ask(connection, False,
               [(c[0].name, c[1], n) for c, n in zip(cases, amounts)])
    expected = [
        attempt(decide, c[0], effective_plan(c[0]), c[2], u, n)
        for c, u, n in zip(cases, uses, amounts)
    ]
    compare(f"quota_evaluate agrees with the model in {len(cases)} cases",
            cases, amounts, uses, rows, expected)
    reasons = {want if want == "22003" else want[0][-1] for want in expected}
    equal(reasons,
          {"ok", "near_limit", "overage", "soft_limit", "limit_reached",
           "not_in_plan", "suspended", "unlimited", "bypass", "22003"},
          "the cases have every reason")
    equal(usage_of(connection), usage_text(world),
          "quota_evaluate leaves usage as it was")


def test_consume(rng, connection, world, cases, name):
    amounts, uses, expected = [], [], []
    for account, feature, limits in cases:
        use = world.use[account.name, feature]
        n = random_amount(rng, limits, use)
        result = attempt(
            consume, account, effective_plan(account), limits, use, n)
        if result == "22003":
            expected.append(result)
        else:
            expected.append(result[0])
            world.use[account.name, feature] = result[1]
        amounts.append(n)
        uses.append(use)
    rows = ask(connection, True,
               [(c[0].name, c[1], n) for c, n in zip(cases, amounts)])
    compare(f"quota_consume agrees with the model in {len(cases)} cases{name}",
            cases, amounts, uses, rows, expected)
    got, want = usage_of(connection), usage_text(world)
    check(got == want, f"usage agrees with the model{name}",
          f"got: {sorted(set(got) - set(want))[:5]}",
          f"expected: {sorted(set(want) - set(got))[:5]}")


def test_evaluate_all(rng, connection, world):
    """The form that returns a row for each feature and window."""
    connection.execute(
        "DELETE FROM quota.usage WHERE used = %s", (BIGGEST,))
    for use in world.use.values():
        for period in [p for p, used in use.items() if used == BIGGEST]:
            del use[period]
    names = {account.name for account in rng.sample(world.accounts, 100)}
    expected = set()
    for account, feature, limits in world.cases:
        if account.name in names:
            plan = effective_plan(account)
            use = world.use[account.name, feature]
            for window in judge_all(account, limits, use, 1):
                expected.add((account.name, feature) + figures(plan, window)[0])
    columns = ", ".join("d." + column for column in FIGURES)
    rows = connection.execute(
        f"SELECT a.account, d.feature, {columns} "
        "FROM unnest(%s::text[]) a (account), quota_evaluate(a.account) d",
        (sorted(names),)).fetchall()
    got = set(rows)
    check(got == expected and len(rows) == len(got),
          f"quota_evaluate(account) agrees with the model in {len(rows)} rows",
          f"got: {list(got - expected)[:3]}",
          f"expected: {list(expected - got)[:3]}")


def usage_of(connection):
    return connection.execute(
        "SELECT account, feature, period::text, period_start::text, used "
        "FROM quota.usage ORDER BY 1, 2, 3, 4").fetchall()


def usage_text(world):
    return sorted(
        (a, f, p, s if s == "-infinity" else f"{s:%Y-%m-%d %H:%M:%S}+00", used)
        for a, f, p, s, used in world.usage_rows())


def main():
    rng = seeded()
    connection = connect()
    connection.execute("SET timezone = 'UTC'")
    connection.execute("SELECT set_config('quota.now', %s, false)", (str(NOW),))
    connection.execute(PREPARE)
    world = World(rng, connection)
    test_evaluate(rng, connection, world)
    test_consume(rng, connection, world, world.cases, "")
    again = [rng.choice(world.cases) for _ in range(6000)]
    test_consume(rng, connection, world, again, ", again")
    few = [rng.choice(world.cases) for _ in range(40)]
    test_consume(rng, connection, world, [rng.choice(few) for _ in range(4000)],
                 ", many times the same")
    test_evaluate_all(rng, connection, world)
    finish()


if __name__ == "__main__":
    main()
