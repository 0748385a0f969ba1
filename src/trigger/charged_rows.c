/*
 * charged_rows.c
 *		The times at which rows were charged, if their own does not tell.
 *
 * A row that stops to be counted is refunded to the windows in which it was
 * charged. Its time column nearly always tells which these are. Only a row for
 * which it does not has an entry, so the usual charge neither writes nor reads
 * one. Entries are named by the attached table, the feature and the row's
 * primary key.
 *
 * The table is used by SPI as the extension's owner, since roles that write the
 * application's rows hold no right on it.
 *
 * Lock			Protects	Order					While held
 * row of entry	entry		after the row's own		-
 *
 * Memory: plans are kept for the life of the backend; entries that are loaded
 * are in the caller's context.
 */
#include "postgres.h"

#include "trigger/charged_rows.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* A statement, planned once in a backend. */
typedef struct Statement
{
	const char *text;
	int parameters;
	SPIPlanPtr plan;
} Statement;

/* An entry in memory. */
typedef struct ChargedRow
{
	char *key;
	TimestampTz at;
} ChargedRow;

struct QuotaChargedRows
{
	int count;
	ChargedRow *rows; /* by key */
};

static int compare_rows(const void *a, const void *b);
static uint64 execute(Statement *statement, const QuotaAttachment *attachment, const char *key, TimestampTz *at);

/* Return whether any row of the attached table has an entry. */
bool
quota_charged_rows_exist(const QuotaAttachment *attachment)
{
	static Statement statement = {
		"SELECT FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2 LIMIT 1",
		2,
		NULL};

	return execute(&statement, attachment, NULL, NULL) > 0;
}

/* Delete the entry of a row, and return its time in `at`; false if there is none. */
bool
quota_charged_rows_delete(const QuotaAttachment *attachment, const char *key, TimestampTz *at)
{
	static Statement statement = {
		"DELETE FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2 AND row_key OPERATOR(pg_catalog.=) $3"
		" RETURNING charged_at",
		3,
		NULL};

	return execute(&statement, attachment, key, at) > 0;
}

/* Insert the time at which a row was charged, or update it. */
void
quota_charged_rows_insert(const QuotaAttachment *attachment, const char *key, TimestampTz at)
{
	static Statement statement = {
		"INSERT INTO quota.charged_rows (relation, feature, row_key, charged_at) VALUES ($1, $2, $3, $4)"
		" ON CONFLICT (relation, feature, row_key) DO UPDATE SET charged_at = EXCLUDED.charged_at",
		4,
		NULL};

	execute(&statement, attachment, key, &at);
}

/*
 * Load all entries of an attachment, as the running query sees them.
 *
 * Returns them in the caller's context.
 */
QuotaChargedRows *
quota_charged_rows_load(const QuotaAttachment *attachment)
{
	static const char *const text =
		"SELECT row_key, charged_at FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2";
	Oid types[2] = {REGCLASSOID, TEXTOID};
	Datum values[2] = {ObjectIdGetDatum(attachment->root), CStringGetTextDatum(attachment->feature)};
	QuotaChargedRows *charged = palloc0(sizeof(QuotaChargedRows));
	MemoryContext context = CurrentMemoryContext;
	QuotaOwner saved;

	quota_owner_begin_extension(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(text, 2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed");
	charged->count = (int) SPI_processed;
	charged->rows = MemoryContextAllocHuge(context, Max(charged->count, 1) * sizeof(ChargedRow));
	for (int i = 0; i < charged->count; i++)
	{
		char *key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		bool isnull;

		charged->rows[i].key = MemoryContextStrdup(context, key);
		charged->rows[i].at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	quota_owner_end(&saved);
	qsort(charged->rows, charged->count, sizeof(ChargedRow), compare_rows);
	return charged;
}

int
quota_charged_rows_count(const QuotaChargedRows *charged)
{
	return charged->count;
}

/* Find the time at which a row was charged; false if it has no entry. */
bool
quota_charged_rows_find(const QuotaChargedRows *charged, const char *key, TimestampTz *at)
{
	ChargedRow row = {.key = unconstify(char *, key)};
	const ChargedRow *found = bsearch(&row, charged->rows, charged->count, sizeof(ChargedRow), compare_rows);

	if (found != NULL)
		*at = found->at;
	return found != NULL;
}

static int
compare_rows(const void *a, const void *b)
{
	return strcmp(((const ChargedRow *) a)->key, ((const ChargedRow *) b)->key);
}

/*
 * Execute a statement. `at` is its fourth parameter, or what a statement of
 * three returns. Returns the number of rows.
 */
static uint64
execute(Statement *statement, const QuotaAttachment *attachment, const char *key, TimestampTz *at)
{
	static Oid types[4] = {REGCLASSOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum values[4];
	QuotaOwner saved;
	uint64 rows;

	quota_owner_begin_extension(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* SPI_finish frees these */
	values[0] = ObjectIdGetDatum(attachment->root);
	values[1] = CStringGetTextDatum(attachment->feature);
	if (key != NULL)
		values[2] = CStringGetTextDatum(key);
	if (statement->parameters == 4)
		values[3] = TimestampTzGetDatum(*at);
	if (statement->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(statement->text, statement->parameters, types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	if (SPI_execute_plan(statement->plan, values, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_plan failed");
	rows = SPI_processed;
	if (rows > 0 && statement->parameters == 3)
	{
		bool isnull;

		*at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	quota_owner_end(&saved);
	return rows;
}
