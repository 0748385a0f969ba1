/*
 * Invoices of overage. An invoice keeps what was in effect and has no foreign key to
 * plans, features or accounts. The primary key of the lines is that of a counter's
 * window, so that it is billed once.
 */
CREATE TABLE quota.invoices (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	name text,
	sponsor text COLLATE "C" CHECK (sponsor <> '' AND octet_length(sponsor) <= 255),
	currency char(3) COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
	period_start timestamptz NOT NULL,
	period_end timestamptz NOT NULL CHECK (period_end > period_start),
	total numeric NOT NULL CHECK (total >= 0 AND total < 'Infinity'),
	invoiced_at timestamptz NOT NULL,
	UNIQUE (account, period_start, currency)
);
COMMENT ON TABLE quota.invoices IS 'the overage of an account in a billing period and a currency';
COMMENT ON COLUMN quota.invoices.account IS 'the account that used it';
COMMENT ON COLUMN quota.invoices.name IS 'name of the account when its last window ended';
COMMENT ON COLUMN quota.invoices.sponsor IS 'the account that pays; NULL: the account itself';
COMMENT ON COLUMN quota.invoices.period_start IS 'start of the billing period: the account''s window of period cycle';
COMMENT ON COLUMN quota.invoices.total IS 'the sum of the lines, in currency';
COMMENT ON COLUMN quota.invoices.invoiced_at IS 'quota.now()';

CREATE TABLE quota.invoice_lines (
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	feature text COLLATE "C" NOT NULL,
	period @extschema@.quota_period NOT NULL,
	period_start timestamptz NOT NULL,
	period_end timestamptz NOT NULL CHECK (period_end > period_start),
	invoice bigint NOT NULL REFERENCES quota.invoices ON DELETE CASCADE,
	plan text COLLATE "C" NOT NULL,
	used bigint NOT NULL CHECK (used >= 0),
	usage_limit bigint NOT NULL CHECK (usage_limit >= 0),
	quantity bigint NOT NULL CHECK (quantity > 0),
	unit_price numeric NOT NULL CHECK (unit_price >= 0 AND unit_price < 'Infinity'),
	amount numeric NOT NULL CHECK (amount >= 0 AND amount < 'Infinity'),
	PRIMARY KEY (account, feature, period, period_start)
);
CREATE INDEX invoice_lines_invoice ON quota.invoice_lines (invoice);
COMMENT ON TABLE quota.invoice_lines IS 'windows of counters whose overage is billed';
COMMENT ON COLUMN quota.invoice_lines.account IS 'that of the invoice';
COMMENT ON COLUMN quota.invoice_lines.period_start IS 'start of the counter''s window, as in quota.usage';
COMMENT ON COLUMN quota.invoice_lines.plan IS 'in effect when the window ended, like the limit and the price';
COMMENT ON COLUMN quota.invoice_lines.used IS 'use when it was billed';
COMMENT ON COLUMN quota.invoice_lines.quantity IS 'units past the limit, at most overage_cap';
COMMENT ON COLUMN quota.invoice_lines.unit_price IS 'overage_price of the plan';
COMMENT ON COLUMN quota.invoice_lines.amount IS 'quantity * unit_price, rounded to the smallest unit of the currency';
