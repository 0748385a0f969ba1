"""Alerts by NOTIFY, as a client receives them: once each, when the charge has
committed, never for one that was rolled back.
"""

import json

from _harness import connect, equal, finish

db = connect()
listener = connect()
listener.execute("LISTEN quota_alerts")


def told():
    """What has been told so far: NOTIFY is delivered in the order of commits."""
    db.execute("NOTIFY quota_alerts, 'end'")
    payloads = []
    for notify in listener.notifies():
        if notify.payload == "end":
            return payloads
        payloads.append(json.loads(notify.payload))


def alert(account, threshold, used, limit=10, **more):
    return {
        "account": account,
        "feature": "report",
        "plan": "free",
        "period": "month",
        "period_start": "2026-03-01T00:00:00+00:00",
        "threshold": threshold,
        "used": used,
        "limit": limit,
        **more,
    }


def consume(account, n, connection=db):
    connection.execute("SELECT quota_consume(%s::text, 'report', %s)", (account, n))


catalogue = {
    "features": {"report": {"kind": "counter"}, "seat": {"kind": "gauge"}},
    "plans": {
        "free": {
            "default": True,
            "limits": {
                "report": {"month": {"limit": 10}},
                "seat": {"lifetime": {"limit": 1}},
            },
        }
    },
}
db.execute("SELECT quota_apply(%s::jsonb)", (json.dumps(catalogue),))
db.execute("SET quota.now = '2026-03-10 12:00+00'")
db.execute("SET timezone = 'Asia/Tokyo'")

consume("silent", 10)
equal(told(), [], "without a channel nothing is told")
db.execute("SET quota.notify_channel = 'quota_alerts'")

consume("a", 7)
equal(told(), [], "below the threshold")
consume("a", 1)
equal(told(), [alert("a", "warn", 8)], "the warning")
consume("a", 1)
equal(told(), [], "once")
consume("a", 1)
equal(told(), [alert("a", "limit", 10)], "the limit")
consume("a", 1)
equal(told(), [], "a denial tells nothing")

account = 'x"\\\n\u00fc' + "y" * 200
consume(account, 10)
equal(
    told(),
    [alert(account, "warn", 10), alert(account, "limit", 10)],
    "any account, both at once",
)
db.execute("SELECT quota_consume('s', 'seat')")
seat = dict(feature="seat", period="lifetime", period_start="-infinity", limit=1)
equal(
    told(),
    [alert("s", "warn", 1, **seat), alert("s", "limit", 1, **seat)],
    "a window without a beginning",
)

other = connect()
other.execute("SET quota.now = '2026-03-10 12:00+00'")
other.execute("SET quota.notify_channel = 'quota_alerts'")
other.execute("BEGIN")
consume("b", 8, other)
equal(told(), [], "not before the commit")
other.execute("COMMIT")
equal(told(), [alert("b", "warn", 8)], "but then")
other.execute("BEGIN")
consume("c", 8, other)
other.execute("ROLLBACK")
equal(told(), [], "not what was rolled back")
consume("c", 9, other)
equal(told(), [alert("c", "warn", 9)], "which is told when it is reached again")
other.execute("BEGIN")
other.execute("SAVEPOINT s")
consume("d", 8, other)
other.execute("ROLLBACK TO s")
consume("d", 7, other)
other.execute("COMMIT")
equal(told(), [], "nor to a savepoint")
equal(
    db.execute("SELECT count(*) FROM quota.alerts WHERE account = 'd'").fetchone()[0],
    0,
    "and no row of it is left",
)

finish()
