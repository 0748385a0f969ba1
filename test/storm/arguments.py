"""Every function of the extension with random arguments of the right types.

The functions and their arguments come from the catalogue, with all overloads and
those of schema quota; arguments are extremes of their types, mixed with names of
what is there, so that some calls do their work.  All of it is rolled back.

No call may end in an internal error (class XX), with the connection lost, or only
by the timeout.

One backend's memory does not grow. PostgreSQL keeps what it was once asked for, also
what it did not find, and never forgets it; random calls ask for ever new things. So the
same calls are made again and again, pass after pass: a context with a leak grows in
each, a cache or a plan in some.

Tables are new things each time: PostgreSQL keeps the name of the TOAST table, which has
an OID in it, and something of the columns and indexes. So the partitions of the ledger, which are
the only tables that a function makes, are there before the passes; what making them
leaves is compared with what tables like them leave in a database without the extension.

QUOTA_CALLS in the environment: end after as many calls, in place of a time; six parts
in ten are passes.
"""

import json
import os
import time
from collections import Counter

import psycopg

from _harness import check, connect, finish, seeded
from _model import CATALOGUE
from _storm import Faults, seconds, until

SECONDS = seconds(20)
CALLS = int(os.environ.get("QUOTA_CALLS") or 0)
TIMEOUT_S = 10
CALLS_A_TRANSACTION = 20
LEAKS = 5  # calls of a function that leaks by PostgreSQL's own fault
PASSES = 6  # of the same calls; the first fills the caches
CALLS_A_PASS = CALLS // 10 or 400
PASS_MAY_GROW = 512  # bytes, a context in each pass after the first
RSS_MAY_GROW_KB = 32768
MADE = 40  # times that the months of the ledger are made, a round
ROUNDS = 4  # the first fills the caches
MONTHS = 3  # made at a time
MONTHS_MAY_COST = 1.05  # times what as many tables cost: a hash table of the cache may double in one alone

SETUP = """
    CREATE TABLE posts (id serial PRIMARY KEY, owner text, n int, status text, at timestamptz, plan text, sub text);
    CREATE TABLE disks (id bigserial PRIMARY KEY, owner bigint, n bigint, status text DEFAULT 'new');
    CREATE TABLE jobs (id uuid, owner uuid, n int, at timestamptz) PARTITION BY RANGE (at);
    CREATE TABLE jobs_old PARTITION OF jobs FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
    CREATE TABLE jobs_new PARTITION OF jobs DEFAULT;
    CREATE TABLE loose (a int, b text[], c point, d xml, owner text, email text);
    CREATE TABLE users (id text PRIMARY KEY, name text, plan text, status text, sponsor text);
    CREATE VIEW seen AS SELECT * FROM posts;
    CREATE MATERIALIZED VIEW stale AS SELECT * FROM posts;
    CREATE UNLOGGED TABLE fleeting (id int, owner text);
    CREATE TYPE composite AS (owner text, n int);
    CREATE TABLE gone ();
    SELECT quota_attach('posts', 'post', 'owner', 'n', 'mark', 'status <> ''failed''', 'status', 'skipped');
    SELECT quota_attach('disks', 'disk', 'owner', 'n');
    SELECT quota_attach('jobs', 'job', 'owner', 'n', time_column => 'at');
    SELECT quota_adopt('users', 'id', 'name', 'plan');
    INSERT INTO users VALUES ('ada', 'Ada', 'pro'), ('bob', 'Bob', 'free'), ('7', 'Seven', 'pro');
    SELECT quota_set_pool('bob', 'team'), quota_sponsor('ada', 'cleo', 'pro'), quota_add_user('ada', 'ann', 'OWNER');
    SELECT quota_consume('ada', 'token', 3, 'key'), quota_reserve('ada', 'token', 2), quota_reserve('bob', 'level', 2);
    SELECT quota_set_override('ada', 'scan', 'day', 20), quota_record('ada', 'scan', 19), quota_suspend('dan');
    INSERT INTO posts (owner, n, status) VALUES ('ada', 1, 'new'), ('bob', 2, 'failed');
    INSERT INTO disks (owner, n) VALUES (7, 3);
"""
# a table of as many columns and indexes as a month of the ledger
MONTH = """
    CREATE TABLE month (id bigint, at timestamptz, account text, "user" text, feature text, plan text, what text, kind text, amount bigint,
        decision text, reason text, used bigint, most bigint, period text, start timestamptz, key text, metadata jsonb,
        PRIMARY KEY (account, at, id));
    CREATE INDEX ON month ("user", at) WHERE "user" IS NOT NULL;
    CREATE INDEX ON month (kind, at);
"""

NAMES = ["ada", "bob", "team", "cleo", "dan", "7", "free", "pro", "post", "disk", "job", "token", "scan", "level",
         "text", "ann", "key", "OWNER", "MEMBER", "owner", "n", "status", "at", "id", "raise", "skip", "mark",
         "UTC", "Asia/Kolkata", "reader", "postgres", "usd", "jobs", "messages", "month", "active", "limit"]
TEXTS = [
    "NULL", "''", "' '", "'*'", "'no such'", "'%s%n%I'", "'\\'", "'$1'", "'\"'", "'a.b'", "E'\\x01\\n\\r\\t'", "'pg_temp'",
    "'-1'", "'9223372036854775808'", "'NaN'", "'infinity'", "'public.posts'", "'quota.usage'", "'{}'", "'[1,2]'", "'null'",
    "'n * 2 + 1'", "'length(status)'", "'(SELECT 1)'", "'count(*)'", "'random()'", "'posts'", "'owner = ''ada'''", "'n / 0'",
    "'1) UNION SELECT (1'", "'ctid'", "'tableoid'", "'00000000-0000-0000-0000-000000000000'", "'t=1,v1=00'",
    "repeat('x', 63)", "repeat('x', 64)", "repeat('\u00e9', 127)", "repeat('x', 300)", "repeat('(', 9999)",
    "repeat('x', 8200)", "repeat('%', 1048576)", "'\U0001f600'", "'e\u0301'", "quota_export()::text",
]
NUMBERS = ["NULL", "0", "1", "-1", "2", "7", "100", "32767", "2147483647", "-2147483648"]
BIGINTS = [*NUMBERS, "4294967296", "9223372036854775807", "9223372036854775806", "(-9223372036854775808)"]
TIMES = ["NULL", "now()", "'infinity'", "'-infinity'", "'4714-11-24 00:00+00 BC'", "'294276-12-31 23:59:59.999999+00'",
         "'0001-12-31 BC'", "'0001-01-01'", "'9999-12-31 23:59:59+00'", "'10000-01-01'", "'epoch'", "'2024-02-29 12:00+00'",
         "'2026-03-29 02:30 Europe/Berlin'", "now() + interval '1 hour'", "now() - interval '1 month'"]
JSONS = ["NULL", "'null'", "'{}'", "'[]'", "'\"x\"'", "'1'", "'true'", "'{\"scan\": 1}'", "'{\"scan\": 1, \"token\": 2}'",
         "'{\"scan\": -1}'", "'{\"scan\": 1e1000}'", "'{\"scan\": 1.5}'", "'{\"\": null}'", "'{\"scan\": {\"scan\": [{}]}}'",
         "'{\"features\": 1}'", "'{\"features\": {\"x\": {\"kind\": \"gauge\"}}, \"plans\": {}}'",
         "'{\"plans\": {\"free\": {\"limits\": {\"scan\": {\"day\": {\"limit\": 1e30}}}}}}'", "quota_export()",
         "quota_export() #- '{plans,pro}'", "jsonb_set(quota_export(), '{plans,pro,price}', '\"x\"')",
         "jsonb_set(quota_export(), '{features,scan}', '[]')", "jsonb_set(quota_export(), '{plans,free,limits,scan,day}', '{\"limit\": -1}')",
         "quota_preset('reports')", "(repeat('[', 3000) || repeat(']', 3000))::jsonb",
         "(SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 5000) i)", "to_jsonb(repeat('x', 1048576))",
         "jsonb_build_object('id', 'evt_1', 'type', 'customer.subscription.updated', 'data', jsonb_build_object('object', NULL))"]
RELATIONS = ["NULL", "0", "4294967295", "'pg_class'", "'pg_proc'", "'pg_catalog.pg_stats'", "'quota.usage'", "'quota.usage_pkey'",
             "'quota.accounts'", "'quota.events'", "'quota.counters'", "'posts'", "'posts_pkey'", "'posts_id_seq'", "'disks'",
             "'jobs'", "'jobs_old'", "'loose'", "'users'", "'seen'", "'stale'", "'fleeting'", "'composite'", "'here'", "{gone}",
             "(SELECT reltoastrelid FROM pg_class WHERE oid = 'posts'::regclass)"]
VALUES = {
    "text": TEXTS, "bigint": BIGINTS, "integer": NUMBERS, "timestamp with time zone": TIMES, "jsonb": JSONS,
    "boolean": ["NULL", "true", "false"],
    "regclass": RELATIONS,
    "bytea": ["NULL", "''", "'\\x00'", "'\\x6f776e657200'", "'\\xff00fe00'", "decode(repeat('00', 100000), 'hex')"],
    "double precision": ["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "0", "-0.0", "0.8", "1", "-1", "1e308", "5e-324"],
    "numeric": ["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "0", "0.01", "-1", "1e1000", "1e-1000"],
    "real": ["NULL", "'NaN'", "0", "1e38"],
    "smallint": ["NULL", "0", "-32768"],
    "interval": ["NULL", "'0'", "'1 hour'", "'-1 day'", "'1 month'", "'1 us'", "'178000000 years'", "'-178000000 years'",
                 "'30 days -12:00'", "'1 year 3 days'"],
    "uuid": ["NULL", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "gen_random_uuid()"],
    '"any"': ["NULL::text", "1", "'x'::name", "ROW(1, 'x')", "'{1,NULL}'::int[]", "now()", "'\\x00'::bytea", "repeat('x', 1000000)"],
    "oid": ["NULL", "0", "4294967295", "1259"],
    "name": ["NULL", "''", "'ada'"],
}


class Function:
    def __init__(self, name, types, returns, language):
        self.name, self.types, self.returns = name, types, returns
        # PostgreSQL compiles it again at each call, which fails and leaks some 10 kB
        self.leaks = returns in ("trigger", "event_trigger") and language == "plpgsql"

    def call(self, rng, catalogue):
        arguments = ", ".join(catalogue.value(rng, type) for type in self.types)
        if self.returns == "void":
            return f"SELECT {self.name}({arguments})"
        if self.returns in ("trigger", "event_trigger"):
            return f"SELECT {self.name}({arguments})"
        # what it returns is made a text of as well
        return f"SELECT length(f::text) FROM {self.name}({arguments}) AS f"


class Catalogue:
    """The functions, and values of the types of their arguments."""

    def __init__(self, connection):
        self.functions = [Function(*row) for row in connection.execute("""
            SELECT format('%I.%I', n.nspname, p.proname), ARRAY(
                    SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, i) ORDER BY i),
                format_type(p.prorettype, NULL), l.lanname
            FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'quota'
                JOIN pg_proc p ON d.objid = p.oid JOIN pg_namespace n ON p.pronamespace = n.oid
                JOIN pg_language l ON p.prolang = l.oid
            WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
            ORDER BY p.oid""")]
        self.enums = {name: labels for name, labels in connection.execute(
            "SELECT format_type(enumtypid, NULL), array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum GROUP BY 1")}
        self.columns = {name: columns for name, columns in connection.execute("""
            SELECT format_type(t.oid, NULL), array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum)
            FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE t.typtype = 'c' GROUP BY 1""")}
        self.gone = connection.execute("SELECT 'gone'::regclass::oid").fetchone()[0]
        connection.execute("DROP TABLE gone")

    def value(self, rng, type):
        """An SQL expression."""
        if type.endswith("[]"):
            return self.array(rng, type)
        if type == "text" and rng.random() < 0.6:
            return f"'{rng.choice(NAMES)}'::text"
        if type in self.enums:
            return rng.choice(["NULL", *(f"'{label}'" for label in self.enums[type])]) + f"::{type}"
        if type in VALUES:
            value = rng.choice(VALUES[type]).replace("{gone}", str(self.gone))
            return value if type == '"any"' else f"({value})::{type}"
        if type in self.columns:
            return self.composite(rng, type)
        return f"NULL::{type}"

    def array(self, rng, type):
        shape = rng.randrange(6)
        if shape == 0:
            return f"NULL::{type}"
        if shape == 1:
            return f"'{{}}'::{type}"
        elements = [self.value(rng, type[:-2]) for _ in range(rng.choice((1, 2, 5)))]
        one = f"ARRAY[{', '.join(elements)}]::{type}"
        return f"ARRAY[{one}, {one}]" if shape == 2 else one

    def composite(self, rng, type):
        shape = rng.randrange(4)
        if shape == 0:
            return f"NULL::{type}"
        if shape == 1 and type.startswith("quota."):
            return f"(SELECT r FROM {type} r LIMIT 1)"
        empty = shape == 2
        return "ROW({})::{}".format(", ".join("NULL" if empty else self.value(rng, one) for one in self.columns[type]), type)


class Memory:
    """What is used of a backend's memory contexts, in bytes, and what is resident."""

    def __init__(self, connection):
        # from 18 on the parent is told by its path
        contexts = """
            WITH contexts AS MATERIALIZED (TABLE pg_backend_memory_contexts)
            SELECT c.name, p.name AS parent, c.used_bytes FROM contexts c LEFT JOIN contexts p ON p.path = trim_array(c.path, 1)
            """ if connection.info.server_version >= 180000 else "TABLE pg_backend_memory_contexts"
        # what statistics have not been sent yet comes and goes
        self.contexts = Counter(dict(connection.execute(f"""
            SELECT concat_ws(' of ', name, parent), sum(used_bytes)::bigint FROM ({contexts}) c
            WHERE name <> 'PgStat Pending'
            GROUP BY 1""").fetchall()))
        self.used = sum(self.contexts.values())
        with open(f"/proc/{connection.info.backend_pid}/status") as status:
            self.rss_kb, = (int(line.split()[1]) for line in status if line.startswith("RssAnon:"))

    def growth_since(self, other):
        grown = Counter(self.contexts)
        grown.subtract(other.contexts)
        return [one for one in grown.most_common(12) if one[1] > 0]


def growth(memories):
    """From each to the next."""
    return [after.used - before.used for before, after in zip(memories, memories[1:])]


def ever_growing(memories):
    """The contexts that have grown from each to the next, and by how much."""
    grown = {}
    for name in memories[-1].contexts:
        steps = [after.contexts[name] - before.contexts[name] for before, after in zip(memories, memories[1:])]
        if min(steps) > PASS_MAY_GROW:
            grown[name] = steps
    return grown


class Storm:
    def __init__(self, rng):
        self.rng = rng
        with connect() as admin:
            catalogue = {**CATALOGUE, "features": {**CATALOGUE["features"], "call": {"kind": "rate"}, "gate": {"kind": "flag"}}}
            admin.execute("SELECT quota_apply(%s)", (json.dumps(catalogue),))
            admin.execute(SETUP)
            self.catalogue = Catalogue(admin)
        self.functions = list(self.catalogue.functions)
        self.called, self.states, self.faults = Counter(), Counter(), Faults()
        self.queue = []
        self.open()

    def open(self):
        self.connection = connect()
        self.connection.execute(f"SET statement_timeout = '{TIMEOUT_S}s'; SET client_min_messages = error; SET jit = off;"
                                "CREATE TEMP TABLE here (owner text, n int)")

    def next(self):
        """Each function is called as often as every other."""
        if not self.queue:
            self.queue = [one for one in self.functions if not (one.leaks and self.called[one.name] >= LEAKS)]
            self.rng.shuffle(self.queue)
        return self.queue.pop()

    def draw(self):
        """The calls of a transaction: functions and statements."""
        calls = []
        for _ in range(CALLS_A_TRANSACTION):
            function = self.next()
            calls.append((function, function.call(self.rng, self.catalogue)))
            self.called[function.name] += 1
        return calls

    def transact(self, calls):
        """Each call in a savepoint, which the next ones see; then ROLLBACK."""
        before = "BEGIN"
        for function, statement in calls:
            if function not in self.functions:
                continue
            try:
                self.connection.execute(f"{before}; SAVEPOINT s; {statement}")
                before = "RELEASE s"
                self.states["00000"] += 1
            except psycopg.Error as error:
                self.states[error.sqlstate] += 1
                if self.connection.broken:
                    self.lose(function, statement, error)
                    return
                before = "ROLLBACK TO s; RELEASE s"
                if error.sqlstate[:2] == "XX" or error.sqlstate == "57014":
                    self.faults.add((function.name, error.sqlstate, str(error).splitlines()[0][:60]), statement[:600])
        self.connection.execute("ROLLBACK")

    def lose(self, function, statement, error):
        """The server has crashed; without that function it goes on."""
        self.faults.add((function.name, "connection lost"), f"{statement[:600]}: {error}")
        self.functions = [one for one in self.functions if one.name != function.name]
        self.queue = []

        def is_back():
            try:
                self.open()
                return True
            except psycopg.OperationalError:
                return False

        if not until(is_back):
            raise TimeoutError("the server does not come back")

    def run(self):
        deadline, calls = time.monotonic() + SECONDS, 0
        while calls < CALLS - PASSES * CALLS_A_PASS if CALLS else time.monotonic() < deadline:
            self.transact(self.draw())
            calls += CALLS_A_TRANSACTION

    def repeat(self):
        """The same calls, pass after pass; what is used after each."""
        self.open()
        self.connection.execute("SELECT quota_maintain()")
        self.functions = [one for one in self.functions if not one.leaks]
        self.queue = []
        transactions = [part for _ in range(CALLS_A_PASS // CALLS_A_TRANSACTION) for part in without_months_made(self.draw())]
        memories = []
        for _ in range(PASSES):
            for calls in transactions:
                self.transact(calls)
            memories.append(Memory(self.connection))
        return memories


def make_months():
    """What is used after each round of making the ledger's months, and as many tables like them elsewhere."""
    with connect() as months, connect(dbname="postgres") as tables:
        tables.execute(MONTH)
        create = "; ".join(f"CREATE TABLE month_{i} (LIKE month INCLUDING ALL)" for i in range(MONTHS))
        both = rolled_back(months, "SELECT quota.make_ledger_months()"), rolled_back(tables, create)
        tables.execute("DROP TABLE month")
    return both


def rolled_back(connection, statement):
    memories = []
    for _ in range(ROUNDS):
        for _ in range(MADE):
            connection.execute(f"BEGIN; {statement}; ROLLBACK")
        memories.append(Memory(connection))
    return memories


def without_months_made(calls):
    """These calls, in transactions that end where months may have been dropped, which others would make again."""
    parts = [[]]
    for function, statement in calls:
        parts[-1].append((function, statement))
        if function.name == "quota.drop_ledger_months":
            parts.append([])
    return parts


def judge_months(months, tables):
    ours, control = sum(growth(months)), sum(growth(tables))
    print(f"# {(ROUNDS - 1) * MADE * MONTHS} tables keep {control} bytes of PostgreSQL's caches, as months of the ledger {ours}")
    check(ours <= control * MONTHS_MAY_COST, "to make the months of the ledger leaves in memory what making tables leaves",
          *months[-1].growth_since(months[0]))


def judge_passes(memories):
    grown = growth(memories)
    print(f"# {PASSES} passes of {CALLS_A_PASS} calls: used {memories[0].used} bytes, then more by {', '.join(map(str, grown))}; "
          f"resident {memories[0].rss_kb} kB, then {memories[-1].rss_kb}")
    leaks = ever_growing(memories)
    check(not leaks, "the same calls again and again: no memory context grows each time",
          *(f"{name}: {', '.join(map(str, steps))}" for name, steps in leaks.items()))
    check(memories[-1].rss_kb - memories[0].rss_kb < RSS_MAY_GROW_KB, "nor does what is resident")


def main():
    storm = Storm(seeded())
    storm.run()
    months, tables = make_months()
    memories = storm.repeat()
    print(f"# {storm.states.total()} calls of {len(storm.catalogue.functions)} functions: "
          + ", ".join(f"{state} {n}" for state, n in storm.states.most_common()))
    check(not storm.faults.first, "no internal error, no lost connection, no endless call", *storm.faults.notes())
    check(len(storm.called) >= len({f.name for f in storm.catalogue.functions}), "every function was called")
    judge_months(months, tables)
    judge_passes(memories)
    finish()


if __name__ == "__main__":
    main()
