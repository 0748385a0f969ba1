"""Windows of time against a model that knows offsets from zoneinfo only.

A window begins at a local calendar instant.  Where the clocks are set back
over it the later of the two counts, where they are set forward over it the
offset before; a window ends where the next one begins.
"""

import calendar
from bisect import bisect_right
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from _harness import check, connect, finish, seeded

ZONES = [
    "UTC", "America/New_York", "Europe/Berlin", "Europe/Dublin",
    "America/Sao_Paulo",    # set forward at midnight, until 2018
    "America/Asuncion",     # the same, until 2024
    "America/Santiago",
    "America/Havana",       # set back to midnight: there are two
    "America/St_Johns",     # set back at 00:01, until 2011
    "America/Scoresbysund",
    "Atlantic/Azores", "Asia/Beirut", "Asia/Amman", "Asia/Tehran", "Asia/Gaza",
    "Africa/Cairo", "Africa/Casablanca", "Africa/Monrovia",
    "Australia/Lord_Howe",  # by half an hour
    "Antarctica/Troll",     # by two hours
    "Pacific/Apia",         # has no 30 December 2011
    "Pacific/Kwajalein",    # has no 21 August 1993
    "Pacific/Chatham", "Asia/Kathmandu", "Asia/Pyongyang", "Europe/Moscow",
]
PERIODS = ["hour", "day", "week", "month", "year", "lifetime", "cycle"]
CASES_PER_ZONE = 1000
ANCHORS_PER_ZONE = 40

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)


class Zone:
    """Offsets of a zone.  Instants are naive datetimes in UTC."""

    def __init__(self, name):
        self.zone = ZoneInfo(name)
        self.times, self.offsets = [], [self.ask(datetime(1968, 1, 1))]
        at, step = datetime(1968, 1, 1), timedelta(days=1)
        while at.year < 2041:
            # no zone has changed twice within a day since
            if self.ask(at + step) != self.offsets[-1]:
                self.add_transition(at, at + step)
            at += step

    def ask(self, at):
        return at.replace(tzinfo=timezone.utc).astimezone(self.zone).utcoffset()

    def add_transition(self, before, after):
        old = self.ask(before)
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(
                seconds=int((after - before).total_seconds()) // 2)
            if self.ask(middle) == old:
                before = middle
            else:
                after = middle
        self.times.append(after)
        self.offsets.append(self.ask(after))

    def offset(self, at):
        return self.offsets[bisect_right(self.times, at)]

    def local(self, at):
        return at + self.offset(at)

    def instant(self, local):
        """The instant at which clocks show a local time."""
        first = bisect_right(self.times, local - timedelta(hours=40))
        last = bisect_right(self.times, local + timedelta(hours=40))
        offsets = self.offsets[first:last + 1]
        shown = [local - o for o in offsets if self.offset(local - o) == o]
        if shown:
            return max(shown)
        # never shown: the clocks jumped over it
        for old, new in zip(offsets, offsets[1:]):
            jump = self.times[first]
            if jump + old <= local < jump + new:
                return local - old
            first += 1
        raise AssertionError(f"{local} in {self.zone}")


def beginning(zone, period, number, anchor):
    """The first instant of a period's window, counted from any."""
    if period == "day":
        local = datetime(1970, 1, 1) + timedelta(days=number)
    elif period == "week":
        local = datetime(1970, 1, 5) + timedelta(weeks=number)
    elif period == "year":
        local = datetime(1970 + number, 1, 1)
    else:
        start = datetime(1970, 1, 1)
        if period == "cycle" and anchor is not None:
            start = zone.local(anchor)
        months = start.year * 12 + start.month - 1 + number
        year, month = months // 12, months % 12 + 1
        day = min(start.day, calendar.monthrange(year, month)[1])
        local = datetime.combine(date(year, month, day), start.time())
    return zone.instant(local)


def number_of(zone, period, now, anchor):
    """The number of now's window, about."""
    local = zone.local(now)
    if period == "day":
        return (local - datetime(1970, 1, 1)).days
    if period == "week":
        return (local - datetime(1970, 1, 5)).days // 7
    if period == "year":
        return local.year - 1970
    start = datetime(1970, 1, 1)
    if period == "cycle" and anchor is not None:
        start = zone.local(anchor)
    return (local.year - start.year) * 12 + local.month - start.month


def window(zone, period, now, anchor):
    if period == "lifetime":
        return None, None
    if period == "hour":
        local = zone.local(now)
        start = now - (local - local.replace(minute=0, second=0, microsecond=0))
        return start, start + HOUR
    number = number_of(zone, period, now, anchor)
    starts = [
        beginning(zone, period, number + i, anchor) for i in range(-3, 5)
    ]
    found = [
        (start, end) for start, end in zip(starts, starts[1:])
        if start <= now < end
    ]
    assert len(found) == 1, (zone.zone, period, now, anchor, starts)
    return found[0]


# Random input

def random_anchor(rng):
    while True:
        try:
            day = datetime(rng.randint(1971, 2036), rng.randint(1, 12),
                           rng.choice((28, 29, 30, 30, 31, 31, rng.randint(1, 31))))
        except ValueError:
            continue
        return day + rng.choice((
            timedelta(0), timedelta(hours=rng.randrange(24)),
            timedelta(microseconds=rng.randrange(86400 * 10**6))))


def random_now(rng, zone, period, anchor):
    now = datetime(1970, 1, 4) + timedelta(
        microseconds=rng.randrange(67 * 365 * 86400 * 10**6))
    kind = rng.randrange(6)
    if kind == 0:
        return now
    if kind < 4 and zone.times:  # the clocks are changed about then
        recent = [t for t in zone.times if 1970 < t.year < 2037]
        now = rng.choice(recent or [now])
        if rng.random() < 0.3:
            now += timedelta(hours=rng.randint(-40, 40))
    elif kind == 4:  # a leap day, the end of a month or year
        day = rng.choice((datetime(rng.randrange(1972, 2037, 4), 2, 29),
                          datetime(rng.randint(1971, 2036), 3, 1),
                          datetime(rng.randint(1971, 2036), 1, 1),
                          datetime(rng.randint(1971, 2036), rng.randint(1, 12), 1)))
        now = zone.instant(day)
    if period not in ("hour", "lifetime") and rng.random() < 0.5:
        now = rng.choice(window(zone, period, now, anchor))
    return now + rng.choice((
        timedelta(0), timedelta(0), -MICROSECOND, MICROSECOND,
        timedelta(minutes=rng.randint(-90, 90)),
        timedelta(seconds=rng.randint(-7200, 7200), microseconds=rng.randrange(10**6))))


def copy(connection, target, rows):
    with connection.cursor().copy(f"COPY {target} FROM STDIN") as stream:
        for row in rows:
            stream.write_row(row)


# Both side by side

PREPARE = """
INSERT INTO quota.plans (plan, name, is_default) VALUES ('free', 'Free', true);
CREATE TABLE cases (
    id int PRIMARY KEY, account text, feature text, now timestamptz,
    period_start timestamptz, period_end timestamptz,
    end_before timestamptz, start_after timestamptz);
CREATE FUNCTION window_of(account text, feature text, at timestamptz)
RETURNS quota_decision LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('quota.now', at::text, false);
    RETURN quota_evaluate(account, feature);
END $$;
CREATE PROCEDURE run() LANGUAGE plpgsql AS $$
DECLARE
    one cases;
    decision quota_decision;
BEGIN
    FOR one IN SELECT * FROM cases LOOP
        decision := window_of(one.account, one.feature, one.now);
        one.period_start := decision.period_start;
        one.period_end := decision.period_end;
        IF decision.period <> 'lifetime' THEN
            decision := window_of(one.account, one.feature,
                one.period_start - interval '1 microsecond');
            one.end_before := decision.period_end;
            decision := window_of(one.account, one.feature, one.period_end);
            one.start_after := decision.period_start;
        END IF;
        UPDATE cases SET (period_start, period_end, end_before, start_after) =
            (one.period_start, one.period_end, one.end_before, one.start_after)
        WHERE id = one.id;
    END LOOP;
    PERFORM set_config('quota.now', '', false);
END $$;
"""


def naive(value):
    return value if value is None else value.replace(tzinfo=None)


def whole_hours(zone, start, end):
    """No change of the clocks by part of an hour near the window."""
    around = {zone.offset(at) for at in (start - HOUR, start, end, end + HOUR)}
    return len({offset % HOUR for offset in around}) == 1


def main():
    rng = seeded()
    connection = connect()
    connection.execute("SET timezone = 'UTC'")
    connection.execute(PREPARE)
    copy(connection, "quota.features (feature, kind)",
         [(period, "counter") for period in PERIODS])
    copy(connection, "quota.plan_limits (plan, feature, period, usage_limit)",
         [("free", period, period, 10) for period in PERIODS])

    # the zone of the last accounts is that of setting quota.timezone
    default_zone = rng.choice(ZONES)
    connection.execute(
        "SELECT set_config('quota.timezone', %s, false)", (default_zone,))
    accounts, cases = [], []
    for name in ZONES + [None]:
        zone = Zone(name or default_zone)
        anchors = [None] + [random_anchor(rng) for _ in range(ANCHORS_PER_ZONE)]
        for i, anchor in enumerate(anchors):
            accounts.append(
                (f"{name}-{i}", name, anchor and f"{anchor.isoformat()}+00"))
        for _ in range(CASES_PER_ZONE):
            period = rng.choice(PERIODS + ["cycle", "cycle", "day", "month"])
            i = rng.randrange(len(anchors))
            now = random_now(rng, zone, period, anchors[i])
            cases.append((zone, f"{name}-{i}", period, now, anchors[i]))
    copy(connection, "quota.accounts (account, timezone, cycle_anchor)", accounts)
    copy(connection, "cases (id, account, feature, now)",
         [(i, c[1], c[2], f"{c[3].isoformat()}+00") for i, c in enumerate(cases)])

    connection.execute("CALL run()")
    rows = connection.execute(
        "SELECT period_start, period_end, end_before, start_after "
        "FROM cases ORDER BY id").fetchall()

    wrong = {period: [] for period in PERIODS}
    gaps = []
    for (zone, account, period, now, anchor), row in zip(cases, rows):
        start, end, end_before, start_after = map(naive, row)
        expected = window(zone, period, now, anchor)
        if (start, end) != expected:
            wrong[period].append(
                f"{zone.zone} {account} now {now} anchor {anchor}:\n"
                f"  got {start} to {end}, expected {expected[0]} to {expected[1]}")
        elif period != "lifetime" and (end_before, start_after) != (start, end):
            # whole hours from a clock that moves by half an hour must overlap
            if period != "hour" or whole_hours(zone, start, end):
                gaps.append(
                    f"{zone.zone} {account} {period} now {now}: {start} to {end},"
                    f" the one before ends {end_before}, the next one starts"
                    f" {start_after}")
    for period in PERIODS:
        tried = sum(1 for case in cases if case[2] == period)
        check(not wrong[period],
              f"{period}: windows agree with the model in {tried} cases",
              f"{len(wrong[period])} differ; the first of them:",
              *wrong[period][:5])
    check(not gaps, "a window ends where the next one starts", *gaps[:5])
    finish()


if __name__ == "__main__":
    main()
