"""Webhooks of Stripe as an application hands them in: the bytes of the request's
body, signed by Python's hmac, with the clock as it is.

Then lives of random subscriptions, each event of which many connections hand in
at once, in an order of their own: what comes of it is what comes of them in order.
"""

import hashlib
import hmac
import json
import time
import urllib.parse

import psycopg

from _harness import Crowd, check, connect, equal, finish, raises, seeded

SECRET = "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH"
CONNECTIONS = 8
ACCOUNTS = 40

CATALOGUE = {
    "features": {"scan": {"kind": "counter"}},
    "plans": {"free": {"default": True}, "pro": {}, "elite": {}},
}


def sign(body, at=None, secret=SECRET):
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest},v0={'0' * 64}"


def event(number, kind, created, obj):
    return {"id": f"evt_{number}", "object": "event", "api_version": "2024-06-20", "created": created,
            "type": kind, "data": {"object": obj}, "livemode": True, "pending_webhooks": 1}


def subscription(name, account, price, status, **more):
    return {"id": name, "object": "subscription", "customer": f"cus_{name}", "status": status,
            "created": 1768035600, "metadata": {"account": account}, "cancel_at_period_end": False,
            "items": {"object": "list", "data": [
                {"id": "si_1", "current_period_end": 4102444800, "price": {"id": f"price_{price}", "object": "price"}}]},
            **more}


def hand_in(connection, body, header, how="%s"):
    return connection.execute(f"SELECT quota_stripe_event({how}, %s)", (body, header)).fetchone()[0]


def test_bytes(admin):
    """Bodies that a parser would give back in another form."""
    sub = subscription("sub_1", "acme", "pro", "active", description="Zoë – 日本 😀 \\ \" / \u2028")
    whole = event(1, "customer.subscription.created", 1768035600, sub)
    forms = {
        "indented": json.dumps(whole, indent=2, ensure_ascii=False),
        "ascii": json.dumps(whole),
        "compact": json.dumps(whole, separators=(",", ":"), ensure_ascii=False),
        "with CRLF, tabs and spaces at the ends": "  \r\n\t" + json.dumps(whole, indent="\t", ensure_ascii=False).replace("\n", "\r\n") + "\r\n ",
        "with a key twice and numbers of other forms": json.dumps(whole, ensure_ascii=False)[:-1] + ', "livemode": true, "x": [1.0, 1e2, -0, "\\u00e9\\/"]}',
    }
    for name, text in forms.items():
        body = text.encode()
        with admin.transaction(force_rollback=True):
            equal(hand_in(admin, body.decode(), sign(body))["outcome"], "applied", f"a body {name}, as text")
        with admin.transaction(force_rollback=True):
            equal(hand_in(admin, body, sign(body), "convert_from(%s, 'UTF8')")["plan"], "pro", f"a body {name}, as bytes")
        changed = body.replace(b"price_pro", b"price_elite")
        raises("28000", f"a body {name}, changed", lambda: hand_in(admin, changed.decode(), sign(body)))
        parsed = json.dumps(json.loads(body), sort_keys=True)
        raises("28000", f"a body {name}, parsed and written again", lambda: hand_in(admin, parsed, sign(body)))
    body = forms["compact"].encode()
    raises("28000", "another secret", lambda: hand_in(admin, body.decode(), sign(body, secret="whsec_other")))
    raises("28000", "signed ten minutes ago", lambda: hand_in(admin, body.decode(), sign(body, int(time.time()) - 600)))
    raises("28000", "signed ten minutes ahead", lambda: hand_in(admin, body.decode(), sign(body, int(time.time()) + 600)))
    equal(admin.execute("SELECT count(*) FROM quota.accounts").fetchone()[0], 0, "nothing of this was kept")


def test_encodings(admin):
    """What is signed is UTF-8, whatever the session and the database have."""
    sub = subscription("sub_latin", "Zoë", "pro", "active", description="crème brûlée")
    body = json.dumps(event(2, "customer.subscription.created", 1768035600, sub), ensure_ascii=False).encode()
    with connect() as latin:
        latin.execute("SET client_encoding = 'LATIN1'")
        with latin.transaction(force_rollback=True):
            account = latin.execute("SELECT quota_stripe_event(%s, %s)->>'account'", (body.decode(), sign(body))).fetchone()[0]
        equal(account, "Zoë", "a session in LATIN1")
    name = admin.info.dbname + "_latin"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with psycopg.connect(f"dbname={name}", autocommit=True, client_encoding="UTF8") as latin:
        latin.execute("CREATE EXTENSION quota")
        set_up(latin)
        equal(hand_in(latin, body.decode(), sign(body))["account"], "Zoë", "a database in LATIN1")
        request = latin.execute("SELECT quota_stripe_portal('Zoë', 'https://app.example/é')").fetchone()[0]
        equal(dict(urllib.parse.parse_qsl(request["body"], strict_parsing=True)),
              {"customer": "cus_sub_latin", "return_url": "https://app.example/é"}, "and its requests")
    admin.execute(f"DROP DATABASE {name}")


def test_requests(admin, rng):
    """The body is a form that says what it should, for any text."""
    odd = ["a b", "100%", "é&=?#", "[x]", "日本", "😀", "~._-", "a+b", "%20", "'\"", "\n\t", "\x01"]
    wrong = []
    for _ in range(50):
        account = "".join(rng.sample(odd, 3))
        url = "https://app.example/" + "".join(rng.sample(odd, 4))
        options = {"metadata": {rng.choice(odd): rng.choice(odd), "n": 5}, "expand": ["customer", rng.choice(odd)]}
        request = admin.execute(
            "SELECT quota_stripe_checkout(%s::text, 'pro', %s, options => %s)",
            (account, url, json.dumps(options))).fetchone()[0]
        expected = {
            "mode": "subscription", "client_reference_id": account, "success_url": url,
            "line_items[0][price]": "price_pro", "line_items[0][quantity]": "1",
            "metadata[price]": "price_pro", "metadata[account]": account,
            "subscription_data[metadata][account]": account, "expand[0]": "customer", "expand[1]": options["expand"][1],
            **{f"metadata[{key}]": str(value) for key, value in options["metadata"].items()},
        }
        got = urllib.parse.parse_qsl(request["body"], keep_blank_values=True, strict_parsing=True)
        if sorted(got) != sorted(expected.items()) or not request["body"].isascii():
            wrong.append((request, expected))
    check(not wrong, "each of 50 requests says what it should", *wrong[:2])


def life(rng, account, numbers):
    """Events of a few subscriptions of an account, in order; no two in one second."""
    events = []
    for n in range(rng.randint(1, 3)):
        name = f"sub_{account}_{n}"
        began = 1768035600 + 1000 * n
        second = began
        price = rng.choice(("pro", "elite"))
        terms = {"created": began}
        kind, status = "created", rng.choice(("incomplete", "active", "trialing"))
        for _ in range(rng.randint(1, 6)):
            second += rng.randint(1, 50)
            if rng.random() < 0.4 and kind != "created":
                invoice = {"id": "in_1", "object": "invoice", "customer": f"cus_{name}", "subscription": name,
                           "subscription_details": {"metadata": {"account": account}}}
                events.append((second, rng.choice(("invoice.paid", "invoice.payment_failed")), invoice))
                continue
            events.append((second, f"customer.subscription.{kind}", subscription(name, account, price, status, **terms)))
            kind, status = "updated", rng.choice(("active", "active", "trialing", "past_due", "unpaid", "paused"))
            price = rng.choice((price, "pro", "elite"))
            terms["cancel_at_period_end"] = rng.random() < 0.3
        if rng.random() < 0.3:
            second += rng.randint(1, 50)
            events.append((second, "customer.subscription.deleted", subscription(name, account, price, "canceled", **terms)))
    events.sort(key=lambda e: e[0])
    return [json.dumps(event(next(numbers), kind, second, obj)).encode() for second, kind, obj in events]


STATE = """
    SELECT n, quota.plan_in_effect(a, NULL), a.plan_ends_at, a.next_plan, c.customer
    FROM generate_series(0, %s - 1) n
        LEFT JOIN quota.accounts a ON a.account = 'a' || n
        LEFT JOIN quota.stripe_customers c ON c.account = a.account AND a.plan IS NOT NULL
    ORDER BY n"""


def test_orders(admin, crowd, rng):
    numbers = iter(range(10, 10**6))
    events = [body for n in range(ACCOUNTS) for body in life(rng, f"a{n}", numbers)]
    for body in events:
        hand_in(admin, body.decode(), sign(body))
    in_order = admin.execute(STATE, (ACCOUNTS,)).fetchall()
    admin.execute("DELETE FROM quota.stripe_events; DELETE FROM quota.stripe_subscriptions; "
                  "DELETE FROM quota.stripe_customers; DELETE FROM quota.accounts")

    def work(connection, rng, barrier):
        outcomes = {}
        mine = rng.sample(events, len(events))
        barrier.wait()
        for body in mine:
            outcome = hand_in(connection, body.decode(), sign(body))["outcome"]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return outcomes

    results = crowd.run(work)
    equal(admin.execute(STATE, (ACCOUNTS,)).fetchall(), in_order, "in any order, at once and repeatedly: as in order and once")
    new = sum(n for outcomes in results for outcome, n in outcomes.items() if outcome != "repeated")
    equal(new, len(events), "each event counted once")
    plans = {row[1] for row in in_order}
    check(plans == {"free", "pro", "elite"} and any(row[2] for row in in_order), "they come to various ends", in_order)


def set_up(admin):
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute("SELECT quota_stripe_price('price_pro', 'pro'), quota_stripe_price('price_elite', 'elite')")
    admin.execute("INSERT INTO quota.stripe_secrets VALUES ('live', %s)", (SECRET,))


def main():
    rng = seeded()
    admin = connect()
    set_up(admin)
    test_bytes(admin)
    test_encodings(admin)
    test_requests(admin, rng)
    crowd = Crowd(CONNECTIONS, rng)
    test_orders(admin, crowd, rng)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
