"""Indexes that an operator has added to the tables that charges write: on
expressions, partial, on a column that each charge changes, BRIN, unique. All of
them are kept right by all that charges, and an index leads to what is there.
"""

import json

from _harness import check, connect, equal, finish, raises

CATALOGUE = {
    "features": {"report": {"kind": "counter", "ledger": True}, "token": {"kind": "counter"}},
    "plans": {"free": {"default": True, "limits": {
        "report": {"day": {"limit": 50}, "month": {"limit": 100}}, "token": {"month": {"limit": 1_000_000}}}}},
}
INDEXES = """
    CREATE INDEX added_usage_used ON quota.usage (used);
    CREATE INDEX added_usage_lower ON quota.usage (lower(account));
    CREATE INDEX added_usage_most ON quota.usage (account) WHERE used >= 10;
    CREATE INDEX added_usage_brin ON quota.usage USING brin (used) WITH (pages_per_range = 1);
    CREATE UNIQUE INDEX added_usage_unique ON quota.usage (md5(account || feature), period, period_start, slot);
    CREATE INDEX added_keys_lower ON quota.keys (lower(account));
    CREATE INDEX added_keys_large ON quota.keys (account) WHERE n > 3;
    CREATE INDEX added_keys_at ON quota.keys USING brin (at);
    CREATE UNIQUE INDEX added_keys_unique ON quota.keys (md5(account || ' ' || key));
    CREATE INDEX added_reservations_lower ON quota.reservations (upper(account)) WHERE amount > 1;
    CREATE INDEX added_holds_amount ON quota.holds ((amount * 2)) WHERE amount > 1;
    CREATE INDEX added_holds_brin ON quota.holds USING brin (amount);
    CREATE INDEX added_events_lower ON quota.events (lower(account)) WHERE amount > 1;
    CREATE INDEX added_alerts_lower ON quota.alerts (lower(threshold)) WHERE used > 1;
"""
LOOP = """
    CREATE FUNCTION charge(name text, feature text, times int, savepoints boolean) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..times LOOP
            BEGIN
                PERFORM quota_consume(name, feature, 1 + i % 3);
                IF savepoints AND i % 4 = 0 THEN
                    RAISE division_by_zero;
                END IF;
            EXCEPTION WHEN division_by_zero THEN
            END;
        END LOOP;
    END $$
"""
BTREES = """
    SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'
    JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = 'quota'::regnamespace AND c.relkind = 'i'
"""
TABLES = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relnamespace = 'quota'::regnamespace AND relkind = 'r'
"""


def check_all(admin, when):
    """amcheck: each index has all rows and no others in order, each page is as it should be."""
    wrong = []
    for index, in admin.execute(BTREES).fetchall():
        try:
            admin.execute("SELECT bt_index_check(%s::regclass, heapallindexed => true)", (index,))
        except Exception as error:
            wrong.append(f"{index}: {error}")
    for table, in admin.execute(TABLES).fetchall():
        wrong += admin.execute("SELECT * FROM verify_heapam(%s::regclass)", (table,)).fetchall()
    check(not wrong, f"{when}: indexes and tables are sound", *wrong)


def same(admin, name, query):
    """A query gives by an index what it gives by the table."""
    rows = []
    for by_index in ("on", "off"):
        other = "off" if by_index == "on" else "on"
        for setting in ("enable_indexscan", "enable_bitmapscan", "enable_indexonlyscan"):
            admin.execute(f"SET {setting} = {by_index}")
        admin.execute(f"SET enable_seqscan = {other}")
        rows.append(sorted(admin.execute(query).fetchall()))
    admin.execute("RESET ALL")
    equal(rows[0], rows[1], name)


def charge(admin):
    for savepoints in ("false", "true"):
        admin.execute(f"SELECT charge('Ada', 'report', 12, {savepoints}), charge('Ada', 'token', 300, {savepoints})")
    admin.execute("BEGIN; SELECT quota_consume('Bob', 'token', 1); SELECT quota_consume('Bob', 'token', 5)")
    admin.execute("SAVEPOINT s; SELECT quota_consume('Bob', 'token', 2); ROLLBACK TO s; SELECT quota_consume('Bob', 'token', 3); COMMIT")
    admin.execute("SELECT quota_consume('Cyd', 'report', n, 'k' || n) FROM generate_series(1, 6) n")
    admin.execute("SELECT quota_consume('Cyd', 'report', n, 'k' || n) FROM generate_series(1, 6) n")
    for n in (1, 2, 3):
        number, = admin.execute("SELECT id FROM quota_reserve('Dan', 'report', %s, '1 hour', %s)", (n, f"r{n}")).fetchone()
        if n > 1:
            admin.execute("SELECT quota_commit(%s, 1)", (number,))
    admin.execute("SELECT quota_reserve('Dan', 'report', 4)")
    admin.execute("SELECT quota_refund('Cyd', 'report', 3), quota_record('Cyd', 'report', 50)")
    admin.execute("SELECT quota_reset('Ada', 'report'), quota_maintain()")


def with_slots(admin):
    """In which a transaction with many charges has one, and another is rolled back."""
    admin.execute("""
        UPDATE quota.usage SET slots = 4 WHERE account = 'Ada' AND feature = 'token';
        INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
        SELECT account, feature, period, period_start, s, 0
        FROM quota.usage, generate_series(1, 3) s WHERE account = 'Ada' AND feature = 'token'""")
    with connect() as one, connect() as two:
        one.execute("BEGIN; SELECT charge('Ada', 'token', 300, true)")
        two.execute("BEGIN; SELECT charge('Ada', 'token', 300, false)")
        one.execute("COMMIT")
        two.execute("ROLLBACK")
    equal(admin.execute("SELECT max(slots) FROM quota.usage").fetchone(), (4,), "the counter still has slots")
    check_all(admin, "a counter with slots")
    admin.execute("SELECT charge('Ada', 'token', 100, false)")
    equal(admin.execute("SELECT max(slots) FROM quota.usage").fetchone(), (1,), "and then none")


def only_summarizing(admin):
    """A BRIN index, and no other on a column that changes: from 16 on charges stay heap-only, and it is told of them."""
    admin.execute("SELECT quota_consume('Zoe', 'token')")
    admin.execute("CREATE INDEX added_usage_brin ON quota.usage USING brin (used) WITH (pages_per_range = 1)")
    admin.execute("BEGIN; SELECT quota_consume('Zoe', 'token', 400); SELECT quota_consume('Zoe', 'token', 500); COMMIT")
    admin.execute("SELECT quota_consume('Zoe', 'token', 99)")
    same(admin, "BRIN, of what was charged last", "SELECT account, used FROM quota.usage WHERE used = 1000")
    same(admin, "BRIN, of all", "SELECT account, used FROM quota.usage WHERE used >= 1")
    equal(admin.execute("SELECT used FROM quota.usage WHERE account = 'Zoe'").fetchall(), [(1000,)], "the counter")
    admin.execute("DROP INDEX quota.added_usage_brin")


def main():
    admin = connect()
    admin.execute("CREATE EXTENSION amcheck")
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute(LOOP)
    only_summarizing(admin)
    admin.execute(INDEXES)
    charge(admin)
    check_all(admin, "charges")
    with_slots(admin)
    check_all(admin, "slots that were merged")
    same(admin, "an expression on usage", "SELECT account, feature, used FROM quota.usage WHERE lower(account) = 'ada'")
    same(admin, "a column that changes", "SELECT account, used FROM quota.usage WHERE used >= 3")
    same(admin, "a partial index on usage", "SELECT account, used FROM quota.usage WHERE account > '' AND used >= 10")
    same(admin, "an expression on keys", "SELECT key, n FROM quota.keys WHERE lower(account) = 'cyd'")
    same(admin, "a partial index on keys", "SELECT key, n FROM quota.keys WHERE account = 'Cyd' AND n > 3")
    same(admin, "an expression on holds", "SELECT amount FROM quota.holds WHERE amount * 2 = 8 AND amount > 1")
    same(admin, "an index on the ledger", "SELECT amount FROM quota.events WHERE lower(account) = 'cyd' AND amount > 1")

    # a unique index that is none of ours: its error, and not a charge that never ends
    admin.execute("CREATE UNIQUE INDEX one_a_feature ON quota.usage (feature, md5(left(account, 1))) WHERE account >= 'Eve'")
    admin.execute("SELECT quota_consume('Eve', 'token')")
    admin.execute("SET statement_timeout = '20s'")
    raises("23505", "a unique index of the operator refuses a counter", lambda: admin.execute("SELECT quota_consume('Evie', 'token')"))
    raises("23505", "again", lambda: admin.execute("SELECT quota_consume('Evie', 'token')"))
    admin.execute("SELECT quota_consume('Eve', 'token')")
    check_all(admin, "in the end")
    finish()


if __name__ == "__main__":
    main()
