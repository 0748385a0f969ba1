-- Deciding and charging, as psql shows it.
CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('reports'));
SET timezone = 'UTC';
SET quota.now = '2026-01-15 12:00+00';
\x
SELECT * FROM quota_consume('acme', 'report');
SELECT * FROM quota_record('acme', 'report', 43);
SELECT * FROM quota_evaluate('acme', 'report');
SELECT * FROM quota_consume('acme', 'report', 11);
SELECT * FROM quota_consume('acme', 'report');
SELECT * FROM quota_refund('acme', 'report', 3);
\x
-- a larger amount than what is left
SELECT decision, used, message FROM quota_consume('acme', 'report', 4);
SELECT quota_enforce('acme', 'report', 4);
SELECT decision, used, message FROM quota_consume('acme', 'report', 3);
SELECT feature, period, decision, used, usage_limit, reason, message FROM quota_evaluate('acme');

-- the next month begins by itself
SET quota.now = '2026-02-01 00:00+00';
SELECT decision, used, period_start, period_end FROM quota_consume('acme', 'report');
SELECT used, period, period_start, account, feature FROM quota.usage ORDER BY period_start;
-- the month before gets units back, and never more than it had
SELECT used, period_start FROM quota_refund('acme', 'report', 5, '2026-01-31 23:59:59+00');
SELECT used, period_start FROM quota_refund('acme', 'report', 500, '2026-01-31 23:59:59+00');

-- pro is charged past its limit, an override has its own, a bypass has none
INSERT INTO quota.accounts (account, plan) VALUES ('big', 'pro'), ('vip', 'free');
SELECT used, overage, decision, message FROM quota_record('big', 'report', 245);
SELECT used, overage, decision, message FROM quota_evaluate('big', 'report');
SELECT used, overage, decision, reason, message FROM quota_consume('big', 'report', 85);
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at)
VALUES ('vip', 'report', 'month', 2, '2026-02-10');
SELECT decision, used, usage_limit FROM quota_consume('vip', 'report', 2);
SELECT decision, used, usage_limit, message FROM quota_consume('vip', 'report');
SET quota.now = '2026-02-10 00:00+00';
SELECT decision, used, usage_limit FROM quota_consume('vip', 'report');
UPDATE quota.accounts SET bypass = true WHERE account = 'vip';
SELECT decision, used, reason, message FROM quota_consume('vip', 'report', 500);
UPDATE quota.accounts SET status = 'suspended' WHERE account = 'vip';
SELECT decision, used, reason, message FROM quota_consume('vip', 'report');
SELECT quota_enforce('vip', 'report');

-- several features, all or none
SELECT feature, allowed, used FROM quota_consume_many('acme', '{"report": 54, "schedule_run": 1}');
SELECT feature, allowed, used FROM quota_consume_many('acme', '{"report": 1, "schedule_run": 1}');

-- three ways to name an account
SELECT account, used FROM quota_consume(42, 'report');
SELECT account, used FROM quota_consume('42', 'report');
SELECT account, used FROM quota_consume('00000000-0000-0000-0000-00000000000a'::uuid, 'report');

-- so many versions of a row that they do not fit on one page
BEGIN;
SELECT sum((quota_record('hot', 'schedule_run')).used) FROM generate_series(1, 2000);
COMMIT;
SELECT sum((quota_record('hot', 'schedule_run')).used) FROM generate_series(1, 2);

-- modes
SET quota.enforcement = shadow;
SELECT decision, used, reason, message FROM quota_consume('acme', 'report', 100);
SET quota.enforcement = off;
SELECT decision, used, reason FROM quota_consume('acme', 'report', 100);
RESET quota.enforcement;


-- nothing to give back is nothing to write
SELECT used FROM quota_refund('nobody', 'report', 5);
SELECT count(*) FROM quota.usage WHERE account = 'nobody';

-- what no plan names is refused, but counted where it must be
INSERT INTO quota.features (feature, kind) VALUES ('extra', 'counter');
SELECT period, decision, used, usage_limit, ratio, message FROM quota_consume('acme', 'extra');
SELECT period, decision, used, usage_limit, reason, message FROM quota_record('acme', 'extra', 2);
SELECT period, decision, used, usage_limit, ratio FROM quota_consume('acme', 'extra');

-- bad input
SELECT quota_consume(NULL::text, 'report');
SELECT quota_consume('', 'report');
SELECT quota_consume(repeat('x', 256), 'report');
SELECT quota_consume('acme', NULL);
SELECT quota_consume('acme', 'nothing');
SELECT quota_consume('acme', 'report', NULL);
SELECT quota_consume('acme', 'report', 0);
SELECT quota_consume('acme', 'report', -1);
SELECT quota_consume('acme', 'report', 9223372036854775807);
SELECT quota_consume('acme', 'report', 1, '');
SELECT quota_consume_many('acme', '[]');
SELECT quota_consume_many('acme', '{"report": "1"}');
SELECT quota_consume_many('acme', '{"report": 1.5}');
SELECT quota_consume_many('acme', '{"report": 0}');
SELECT quota_consume_many('acme', '{"report": 1e30}');
SELECT quota_refund('acme', 'report', 1, 'infinity');
SET quota.now = 'infinity';
SET quota.now = 'yesterday-ish';
SET quota.timezone = 'Mars/Olympus';
SET quota.unknown = 1;
BEGIN READ ONLY;
SELECT (quota_evaluate('acme', 'report')).used;
SELECT quota_consume('acme', 'report');
ROLLBACK;
DROP EXTENSION quota;
