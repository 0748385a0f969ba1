"""Charges against a model of the rules, in random order, on several connections.

One driver gives out one step at a time: a charge, a reservation, a change of an
account, of rows in attached tables, savepoints, commits, rollbacks, a killed
connection, a clock that moves on.  So what comes out is known exactly, though
transactions interleave.  A step that has to wait for another connection's
transaction makes the driver (_world.py) end that one, or cancel the step; then the
model (_model.py) judges what is there by then.  Every answer is compared whole; after
each step the counters of whoever it committed something of, and what the rows come to.

QUOTA_STEPS says how many steps, QUOTA_SEED brings a run back.  An operation is a
function below "The operations"; another kind of charge is another function.
"""

import json
import os
from datetime import timedelta

import _model as rules
from _harness import check, finish, seeded
from _model import ATTACHED, CATALOGUE, Answer, Denied, account_of
from _world import ACCOUNTS, MEMBERS, POOL, POOLED, Step, World

STEPS = int(os.environ.get("QUOTA_STEPS") or 6000)
CHECK_EVERY = 20
RECOUNT_EVERY = 200
COUNTED = ["scan", "page", "token", "extra", "level"]  # by calls
FOLLOWED = [feature for feature, attached in ATTACHED.items() if attached.follows]


# The operations: each returns a step for the session, or does what it does itself

OPERATIONS = []  # (weight, function)


def operation(weight):
    def register(function):
        OPERATIONS.append((weight, function))
        return function
    return register


def some_units(rng):
    return rng.choice((1, 1, 1, 2, 3, 7))


ANSWER = ", ".join(Answer._fields)


def first(rows):
    return rows[0]


def nothing(rows):
    return None


def sorted_ids(rows):
    return sorted(id for id, in rows)


def keyed(world, session, function, name, feature, n):
    """Sometimes a key, of few; then mostly the very call that it stands for already."""
    if world.rng.random() > 0.25:
        return None, feature, n
    key = f"{len(world.history) // 300} {world.rng.randrange(2)}"
    known = session.state.get(("key", name, key))
    if known and known[0][0] == function and world.rng.random() < 0.7:
        (_, feature, n), _ = known
    return key, feature, n


def once(state, name, key, call, answer):
    """The answer to a call, which has a key or None: the first that was given."""
    if key is None:
        return answer()
    known = state.get(("key", name, key))
    if known is None:
        known = state["key", name, key] = call, answer()
    if known[0] != call:
        raise Denied("22023")
    return known[1]


def charge_once(world, session, function, rule):
    """A step that calls a function, whose rule is (state, name, feature, n, now) -> answer."""
    name = world.some_account(session)
    key, feature, n = keyed(world, session, function, name, world.rng.choice(COUNTED), some_units(world.rng))

    def model(state, now):
        return once(state, name, key, (function, feature, n), lambda: rule(state, name, feature, n, now))

    return Step(model, first, f"SELECT {ANSWER} FROM {function}(%s, %s, %s, %s)", name, feature, n, key)


@operation(14)
def consume(world, session):
    return charge_once(world, session, "quota_consume", rules.consume)


@operation(6)
def enforce(world, session):
    return charge_once(world, session, "quota_enforce", rules.enforce)


@operation(4)
def record(world, session):
    return charge_once(world, session, "quota_record", rules.record)


@operation(7)
def refund(world, session):
    name, feature, n = world.some_account(session), world.rng.choice(COUNTED), some_units(world.rng)
    back = world.rng.choice((None, None, timedelta(hours=1), timedelta(days=1), timedelta(days=31)))
    at = None if back is None else session.now - back

    def model(state, now):
        return rules.give_back(state, name, feature, n, at or now, now)

    return Step(model, first, f"SELECT {ANSWER} FROM quota_refund(%s, %s, %s, %s)", name, feature, n, at)


@operation(6)
def consume_many(world, session):
    name = world.some_account(session)
    amounts = {feature: some_units(world.rng) for feature in world.rng.sample(COUNTED, world.rng.randint(2, 3))}

    def model(state, now):
        answers = rules.consume_many(state, name, amounts, now)
        return [(feature, *answers[feature]) for feature in sorted(amounts)]

    return Step(model, list, f"SELECT feature, {ANSWER} FROM quota_consume_many(%s, %s)",
                name, json.dumps(amounts))


@operation(6)
def evaluate(world, session):
    """Waits for nobody, and sees what is committed and its own."""
    name, feature, n = world.rng.choice(ACCOUNTS), world.rng.choice(COUNTED), some_units(world.rng)

    def model(state, now):
        return rules.evaluate(state, name, feature, n, now)

    return Step(model, first, f"SELECT {ANSWER} FROM quota_evaluate(%s, %s, %s)", name, feature, n)


@operation(9)
def reserve(world, session):
    name = world.some_account(session)
    key, feature, n = keyed(world, session, "quota_reserve", name, world.rng.choice(COUNTED), some_units(world.rng))
    ttl = world.rng.choice((timedelta(minutes=20), timedelta(hours=2), timedelta(days=1), timedelta(days=10)))
    made = [None]

    def read(rows):
        made[0] = rows[0][0]
        if made[0] is not None:
            world.reservations.append((name, made[0]))
        return rows[0][0], rows[0][1:]

    def model(state, now):
        return once(state, name, key, ("quota_reserve", feature, n),
                    lambda: rules.reserve(state, name, feature, n, now, ttl, made[0]))

    return Step(model, read, f"SELECT id, {ANSWER} FROM quota_reserve(%s, %s, %s, %s, %s)", name, feature, n, ttl, key)


@operation(9)
def settle(world, session):
    """Commit some of what was reserved, all, more or nothing, or release it; also what is settled already."""
    def is_open(made):
        reservation = session.state.get(("reservation", *made))
        return reservation and reservation.expires > session.now

    recent = world.reservations[-25:]
    still_open = list(filter(is_open, recent))
    name, number = world.rng.choice(still_open if still_open and world.rng.random() < 0.8 else recent)
    actual = world.rng.choice((None, None, 0, 1, 2, 9))
    releases = world.rng.random() < 0.3

    def model(state, now):
        return rules.settle(state, name, number, 0 if releases else actual, now)

    if releases:
        return Step(model, first, f"SELECT {ANSWER} FROM quota_release(%s)", number)
    return Step(model, first, f"SELECT {ANSWER} FROM quota_commit(%s, %s)", number, actual)


@operation(1)
def reset(world, session):
    """Of tables only for some accounts: their counters are no longer what the rows come to."""
    name, feature = world.some_account(session), world.rng.choice(COUNTED)
    if name in POOLED and world.rng.random() < 0.5:
        feature = None

    def model(state, now):
        everything = [other for other in CATALOGUE["features"] if rules.kind(other) == "counter"]
        rules.reset(state, name, [feature] if feature else everything, now)

    return Step(model, nothing, "SELECT quota_reset(%s, %s)", name, feature, several=True)


@operation(14)
def insert_rows(world, session):
    """Rows of several accounts in one statement, by whichever way they are refused."""
    feature = world.rng.choice(list(ATTACHED))
    attached = ATTACHED[feature]
    names = [world.some_account(session) for _ in range(world.rng.choice((1, 1, 2, 3)))]
    owners = [world.rng.choice(names) for _ in range(world.rng.choice((1, 1, 2, 5)))]
    n, status = world.rng.choice((1, 1, 2)), "new"
    if attached.counted_when and world.rng.random() < 0.2:
        status = "failed"
    ids = []

    def read(rows):
        ids.extend(row[0] for row in rows)
        world.ids[feature].extend(ids)
        return [row[1:] for row in rows]

    def model(state, now):
        rows = [rules.Row(name, n, status, now) for name in owners]
        if attached.on_block != "raise":
            rows = judge(state.copy(), rows, now)
        changes = rules.Changes(feature, now)
        for row in rows:
            changes.add(row)
        changes.settle(state)
        state.update({("row", feature, id): row for id, row in zip(ids, rows)})
        return [(row.owner, row.status) for row in rows]

    def judge(state, rows, now):
        """One after the other: what goes in of them. They are charged together, at the end."""
        entered = []
        for row in rows:
            units = attached.units(row)
            if units and attached.mark_when in row.owner and rules.refusal(state, row.owner, feature, units, now):
                if attached.on_block == "skip":
                    continue
                row = row._replace(status="skipped")
            elif units:
                rules.charge(state, row.owner, feature, units, now)
            entered.append(row)
        return entered

    return Step(model, read,
                f"INSERT INTO {feature}s (owner, n, status) SELECT unnest(%s::text[]), %s, %s RETURNING id, owner, status",
                owners, n, status, several=len(set(owners)) > 1)


def some_rows(world, session, feature):
    """Of those that came last, and that the connection sees."""
    ids = world.ids[feature][-40:]
    ids = world.rng.sample(ids, min(len(ids), world.rng.choice((1, 1, 2, 5))))
    return sorted(id for id in ids if session.state.get(("row", feature, id)))


def change_rows(feature, ids, change):
    """The model of a statement that makes change(row) of each row, None: it is deleted; returns their ids."""
    def model(state, now):
        changes = rules.Changes(feature, now)
        # others may have deleted some meanwhile
        found = [id for id in ids if state.get(("row", feature, id))]
        for id in found:
            row = state.get(("row", feature, id))
            state["row", feature, id] = changes.change(row, change(row))
        changes.settle(state)
        return found

    return model


@operation(9)
def update_rows(world, session):
    """Another amount, another owner, a failure, another try."""
    feature = world.rng.choice(FOLLOWED)
    ids = some_rows(world, session, feature)
    column, value = world.rng.choice((
        ("n", world.rng.randint(0, 5)), ("owner", world.some_account(session)), ("status", "failed"), ("status", "new")))
    owners = {session.state.get(("row", feature, id)).owner for id in ids}
    if column == "owner":
        owners.add(value)
    return Step(change_rows(feature, ids, lambda row: row._replace(**{column: value})), sorted_ids,
                f"UPDATE {feature}s SET {column} = %s WHERE id = ANY (%s) RETURNING id", value, ids, several=len(owners) > 1)


@operation(3)
def delete_rows(world, session):
    feature = world.rng.choice(list(ATTACHED))
    ids = some_rows(world, session, feature)
    owners = {session.state.get(("row", feature, id)).owner for id in ids}
    return Step(change_rows(feature, ids, lambda row: None), sorted_ids,
                f"DELETE FROM {feature}s WHERE id = ANY (%s) RETURNING id", ids, several=len(owners) > 1)


@operation(0.2)
def truncate(world, session):
    feature = world.rng.choice(list(ATTACHED))

    def model(state, now):
        ids = [key[2] for key in {*state, *state.committed} if key[:2] == ("row", feature)]
        change_rows(feature, ids, lambda row: None)(state, now)
        state["truncated", feature] = True

    return Step(model, nothing, f"TRUNCATE {feature}s", several=True)


@operation(2)
def set_plan(world, session):
    name, plan = world.some_account(session), world.rng.choice(("free", "pro"))
    duration = world.rng.choice((None, None, timedelta(hours=5), timedelta(days=2)))
    if name in MEMBERS:  # then it has that of its pool again
        duration = timedelta(hours=5)

    def model(state, now):
        ends = None if duration is None else now + duration
        state["account", name] = account_of(state, name)._replace(plan=plan, ends=ends)

    return Step(model, nothing, "SELECT quota_set_plan(%s, %s, %s)", name, plan, duration)


@operation(1)
def suspend(world, session):
    name, suspended = world.some_account(session), world.rng.random() < 0.2

    def model(state, now):
        state["account", name] = account_of(state, name)._replace(suspended=suspended)

    return Step(model, nothing, f"SELECT quota_{'suspend' if suspended else 'activate'}(%s)", name)


@operation(2)
def set_pool(world, session):
    name, pool = world.rng.choice(MEMBERS), world.rng.choice((POOL, POOL, None))

    def model(state, now):
        state["account", name] = account_of(state, name)._replace(pool=pool)

    return Step(model, nothing, "SELECT quota_set_pool(%s, %s)", name, pool)


@operation(2)
def set_override(world, session):
    """A limit of its own; sometimes one that is over already."""
    name, feature = world.some_account(session), world.rng.choice(COUNTED + list(ATTACHED))
    periods = {period for plan in CATALOGUE["plans"].values() for period in plan["limits"].get(feature, ())}
    period, limit = world.rng.choice(sorted(periods)), world.rng.choice((None, 0, 3, 10, 25))
    expires = world.rng.choice((None, session.now - timedelta(hours=1), session.now + timedelta(hours=9)))

    def model(state, now):
        state["override", name, feature, period] = limit, expires

    return Step(model, nothing, "SELECT quota_set_override(%s, %s, %s, %s, %s)",
                name, feature, period, limit, expires)


@operation(1)
def clear_override(world, session):
    """By hand, since the function refuses what is not there."""
    name = world.some_account(session)

    def model(state, now):
        for key in {*state, *state.committed}:
            if key[:2] == ("override", name) and state.get(key):
                state[key] = None

    return Step(model, nothing, "DELETE FROM quota.limit_overrides WHERE account = %s", name)


operation(6)(World.commit)
operation(3)(World.rollback)
operation(1)(World.kill)


@operation(10)
def begin(world, session):
    if not session.in_transaction:
        world.note(session, "begin")
        session.connection.execute("BEGIN")
        session.in_transaction = True


@operation(8)
def savepoint(world, session):
    if session.in_transaction and not session.failed and len(session.savepoints) < 4:
        world.note(session, "savepoint")
        session.connection.execute(f"SAVEPOINT s{len(session.savepoints)}")
        session.savepoints.append(session.state.copy())


@operation(5)
def rollback_to(world, session):
    if session.savepoints:
        number = world.rng.randrange(len(session.savepoints))
        world.note(session, f"rollback to s{number}")
        session.connection.execute(f"ROLLBACK TO s{number}")
        del session.savepoints[number + 1:]
        session.state = session.savepoints[number].copy()
        session.failed = False


@operation(3)
def release(world, session):
    if session.savepoints and not session.failed:
        number = world.rng.randrange(len(session.savepoints))
        world.note(session, f"release s{number}")
        session.connection.execute(f"RELEASE s{number}")
        del session.savepoints[number:]


@operation(2)
def move_clock(world, session):
    """Each connection has a clock of its own: they charge different windows."""
    if not session.in_transaction:
        step = world.rng.choice((timedelta(minutes=25), timedelta(hours=3), timedelta(hours=14), timedelta(days=4)))
        session.set_clock(session.now + step)
        world.note(session, f"clock {session.now}")


# The run

def step(world, session):
    """One random operation; a transaction that has failed can only go back."""
    if session.failed:
        chosen = world.rng.choice((World.rollback, World.commit, rollback_to, rollback_to, rollback_to))
    else:
        weights, functions = zip(*OPERATIONS)
        chosen, = world.rng.choices(functions, weights)
    made = chosen(world, session)
    if made is not None:
        world.perform(session, made)


def main():
    world = World(seeded())
    try:
        for number in range(STEPS):
            step(world, world.rng.choice(world.sessions))
            world.look_at_changes()
            if number % CHECK_EVERY == 0:
                world.compare(ACCOUNTS)
            if number % RECOUNT_EVERY == 0:
                world.recount()
        for session in world.sessions:
            world.rng.choice((world.commit, world.rollback))(session)
        world.compare(ACCOUNTS)
        world.recount()
    except AssertionError as wrong:
        check(False, f"step {len(world.history)}", wrong, "before that:", *world.history[-60:])
    else:
        check(True, f"{STEPS} steps: results, counters, rows and what is written down agree with the model")
    if STEPS >= 3000:
        check(world.seen["waited"] > 0, "some have waited for others")
        check(world.seen["killed"] > 0, "some connections were killed")
    for what, times in sorted(world.seen.items()):
        print(f"# {times:6} {what}")
    finish()


if __name__ == "__main__":
    main()
