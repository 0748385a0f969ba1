"""quota_metrics() read by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb

from _harness import check, connect, equal, finish

PLANS = {
    "free": {"default": True, "price": 0, "limits": {
        "report": {"month": {"limit": 10}, "day": {"limit": 5}}}},
    'a "plan"\\ of\nmany lines, {é}=1': {"price": 7.5, "currency": "XOF", "limits": {
        "report": {"month": {"limit": 4, "on_limit": "charge", "overage_price": 0.25}}}},
    "unpriced": {"limits": {"level": {"lifetime": {"limit": None}}}},
}


def families(connection):
    text, = connection.execute("SELECT quota_metrics()").fetchone()
    check(text.endswith("\n"), "the text ends with a line's end")
    return {f.name: f for f in text_string_to_metric_families(text)}


def samples(family):
    return {tuple(sorted(s.labels.items())): s.value for s in family.samples}


def main():
    connection = connect()
    connection.execute("SET quota.now = '2026-01-15 12:00+00'")

    empty = families(connection)
    equal(len(empty), 9, "an empty catalogue has every metric")
    check(not any(f.samples for f in empty.values()), "and no sample")

    connection.execute("SELECT quota_apply(%s)", (Jsonb({
        "features": {"report": {"kind": "counter"}, "level": {"kind": "gauge"}},
        "plans": PLANS}),))
    odd = [plan for plan in PLANS if "{" in plan][0]
    connection.execute(
        "INSERT INTO quota.accounts (account, plan, status) VALUES"
        " ('paying', %(odd)s, 'active'), ('trying', %(odd)s, 'trialing'),"
        " ('owner', 'unpriced', 'active')", {"odd": odd})
    for account, feature, n in (("paying", "report", 10), ("trying", "report", 1),
                                ("rowless", "report", 4), ("owner", "level", 2**62),
                                ("other", "level", 2**62)):
        connection.execute("SELECT quota_record(%s, %s, %s)", (account, feature, n))
    connection.execute("UPDATE quota.usage SET period = 'month', period_start = '2025-12-01'"
                       " WHERE account = 'other'")

    found = families(connection)
    check(all(f.type == "gauge" and f.documentation for f in found.values()),
          "every metric is a gauge with help")
    check(all(f.samples for f in found.values()), "and has samples")
    check(all(name.startswith("quota_") for name in found), "and is ours")
    equal(samples(found["quota_accounts"]),
          {(("plan", "free"),): 2, (("plan", odd),): 2, (("plan", "unpriced"),): 1},
          "accounts by plan, whatever its name")
    equal(samples(found["quota_accounts_trialing"])[(("plan", odd),)], 1, "on trial")
    equal(samples(found["quota_accounts_paying"]),
          {(("plan", "free"),): 0, (("plan", odd),): 1, (("plan", "unpriced"),): 1}, "paying")
    equal(samples(found["quota_monthly_revenue"]),
          {(("currency", "USD"), ("plan", "free")): 0, (("currency", "XOF"), ("plan", odd)): 7.5},
          "revenue, where there is a price")
    equal(samples(found["quota_overage_revenue"])[(("currency", "XOF"), ("plan", odd))], 1.5,
          "revenue of use past the limit")
    equal(samples(found["quota_used_units"]), {
        (("feature", "report"), ("period", "month")): 15,
        (("feature", "report"), ("period", "day")): 4,
        (("feature", "level"), ("period", "lifetime")): 2**62}, "use of current windows")
    equal(samples(found["quota_accounts_active"])[(("feature", "report"), ("period", "month"))], 3,
          "who used it")
    equal(samples(found["quota_accounts_near_limit"]), {
        (("feature", "report"), ("period", "month")): 1,
        (("feature", "report"), ("period", "day")): 1,
        (("feature", "level"), ("period", "lifetime")): 0}, "who is warned")
    equal(samples(found["quota_accounts_over_limit"])[(("feature", "report"), ("period", "month"))], 1,
          "who is past the limit")
    finish()


if __name__ == "__main__":
    main()
