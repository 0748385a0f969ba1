"""Every function of the extension with random arguments of the right types.

The functions and their arguments come from the catalogue, with all overloads and
those of schema quota; arguments are extremes of their types, mixed with names of
what is there, so that some calls do their work.  All of it is rolled back.

No call may end in an internal error (class XX), with the connection lost, or only
by the timeout; and one backend's memory does not grow, neither with many random
calls, nor where the same calls are made again and again.

QUOTA_CALLS in the environment: end after as many calls, in place of a time.
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
CALLS_A_MEASURE = 500
WARM_CALLS = 40_000  # by then plans and caches are there
CONTEXTS_MAY_GROW_KB = 2048
RSS_MAY_GROW_KB = 32768
LEAKS = 5  # calls of a function that leaks by PostgreSQL's own fault
ROUNDS = 8  # of the same calls, twice
ROUNDS_MAY_GROW_KB = 256

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
    """What a backend uses, in KB."""

    def __init__(self, connection):
        connection.execute("SELECT FROM pg_backend_memory_contexts")
        self.contexts = dict(connection.execute("""
            SELECT concat_ws(' of ', name, parent), sum(total_bytes)::bigint FROM pg_backend_memory_contexts
            GROUP BY 1""").fetchall())
        self.total_kb = sum(self.contexts.values()) // 1024
        with open(f"/proc/{connection.info.backend_pid}/status") as status:
            self.rss_kb, = (int(line.split()[1]) for line in status if line.startswith("RssAnon:"))

    def growth_since(self, other):
        grown = Counter(self.contexts)
        grown.subtract(other.contexts)
        return grown.most_common(12)


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
        self.examples = {}  # a statement of each function
        self.open()

    def open(self):
        self.connection = connect()
        self.connection.execute(f"SET statement_timeout = '{TIMEOUT_S}s'; SET client_min_messages = error; SET jit = off;"
                                "CREATE TEMP TABLE here (owner text, n int)")
        self.warm = self.last = None

    def next(self):
        """Each function is called as often as every other."""
        if not self.queue:
            self.queue = [one for one in self.functions if not (one.leaks and self.called[one.name] >= LEAKS)]
            self.rng.shuffle(self.queue)
        return self.queue.pop()

    def transact(self):
        """Some calls, each in a savepoint, which the next ones see; then ROLLBACK."""
        before = "BEGIN"
        for _ in range(CALLS_A_TRANSACTION):
            function = self.next()
            statement = function.call(self.rng, self.catalogue)
            self.called[function.name] += 1
            try:
                self.connection.execute(f"{before}; SAVEPOINT s; {statement}")
                before = "RELEASE s"
                self.examples[function] = statement
                self.states["00000"] += 1
            except psycopg.Error as error:
                self.states[error.sqlstate] += 1
                if self.connection.broken:
                    self.lose(function, statement, error)
                    return
                before = "ROLLBACK TO s; RELEASE s"
                self.examples.setdefault(function, statement)
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
        while calls < CALLS if CALLS else time.monotonic() < deadline:
            self.transact()
            calls += CALLS_A_TRANSACTION
            if calls % CALLS_A_MEASURE == 0:
                self.last = Memory(self.connection)
                if self.warm is None and calls >= WARM_CALLS:
                    self.warm = self.last
        return calls

    def repeat(self):
        """The same call of each function, again and again; the memory before and after."""
        self.open()
        for _ in range(ROUNDS):
            self.replay()
        before = Memory(self.connection)
        for _ in range(ROUNDS):
            self.replay()
        return before, Memory(self.connection)

    def replay(self):
        for function, statement in self.examples.items():
            if function.leaks:
                continue
            try:
                self.connection.execute(f"BEGIN; {statement}; ROLLBACK")
            except psycopg.Error:
                self.connection.execute("ROLLBACK")


def compare(before, after, contexts_kb, rss_kb, name):
    print(f"# contexts {before.total_kb} kB, then {after.total_kb}; resident {before.rss_kb} kB, then {after.rss_kb}")
    check(after.total_kb - before.total_kb < contexts_kb and after.rss_kb - before.rss_kb < rss_kb,
          f"{name}: the backend's memory does not grow", *after.growth_since(before))


def main():
    storm = Storm(seeded())
    calls = storm.run()
    print(f"# {calls} calls of {len(storm.catalogue.functions)} functions: "
          + ", ".join(f"{state} {n}" for state, n in storm.states.most_common()))
    check(not storm.faults.first, "no internal error, no lost connection, no endless call", *storm.faults.notes())
    check(len(storm.called) >= len({f.name for f in storm.catalogue.functions}), "every function was called")
    if storm.warm:
        compare(storm.warm, storm.last, CONTEXTS_MAY_GROW_KB, RSS_MAY_GROW_KB, f"after {WARM_CALLS} calls")
    compare(*storm.repeat(), ROUNDS_MAY_GROW_KB, RSS_MAY_GROW_KB, "the same calls again")
    finish()


if __name__ == "__main__":
    main()
