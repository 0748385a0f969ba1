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

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A statement, planned once in a backend. */
typedef struct Statement
{
	const char *text;
	int parameters; /* attachment 2, key 1, time 1 */
	bool read_only; /* it sees what the running query sees */
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
	uint64 count;
	ChargedRow *rows; /* by key */
};

static int compare_rows(const void *a, const void *b);
static uint64 begin(Statement *statement, const QuotaAttachment *attachment, const char *key, TimestampTz at, QuotaOwner *saved);
static TimestampTz time_of(uint64 row);
static void end(const QuotaOwner *saved);

/* Return whether any row of the attached table has an entry. */
bool
quota_charged_rows_exist(const QuotaAttachment *attachment)
{
	static Statement statement = {
		"SELECT FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2 LIMIT 1",
		.parameters = 2};
	QuotaOwner saved;
	bool found = begin(&statement, attachment, NULL, 0, &saved) > 0;

	end(&saved);
	return found;
}

/* Delete the entry of a row, and return its time in `at`; false if there is none. */
bool
quota_charged_rows_delete(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at)
{
	static Statement statement = {
		"DELETE FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2 AND row_key OPERATOR(pg_catalog.=) $3"
		" RETURNING charged_at",
		.parameters = 3};
	char *key = quota_row_key(attachment, slot);
	QuotaOwner saved;
	bool found = begin(&statement, attachment, key, 0, &saved) > 0;

	if (found)
		*at = time_of(0);
	end(&saved);
	pfree(key);
	return found;
}

/* Insert the time at which a row was charged, or update it. */
void
quota_charged_rows_insert(const QuotaAttachment *attachment, const char *key, TimestampTz at)
{
	static Statement statement = {
		"INSERT INTO quota.charged_rows (relation, feature, row_key, charged_at) VALUES ($1, $2, $3, $4)"
		" ON CONFLICT (relation, feature, row_key) DO UPDATE SET charged_at = EXCLUDED.charged_at",
		.parameters = 4};
	QuotaOwner saved;

	begin(&statement, attachment, key, at, &saved);
	end(&saved);
}

/*
 * Load all entries of an attachment, as the running query sees them.
 *
 * Returns them in the caller's context; NULL: there are none.
 */
QuotaChargedRows *
quota_charged_rows_load(const QuotaAttachment *attachment)
{
	static Statement statement = {
		"SELECT charged_at, row_key FROM quota.charged_rows"
		" WHERE relation OPERATOR(pg_catalog.=) $1 AND feature OPERATOR(pg_catalog.=) $2",
		.parameters = 2,
		.read_only = true};
	QuotaChargedRows *charged = palloc(sizeof(QuotaChargedRows));
	MemoryContext context = CurrentMemoryContext;
	QuotaOwner saved;

	charged->count = begin(&statement, attachment, NULL, 0, &saved);
	charged->rows = MemoryContextAllocHuge(context, Max(charged->count, 1) * sizeof(ChargedRow));
	for (uint64 i = 0; i < charged->count; i++)
	{
		char *key = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);

		charged->rows[i] = (ChargedRow){MemoryContextStrdup(context, key), time_of(i)};
	}
	end(&saved);
	qsort(charged->rows, charged->count, sizeof(ChargedRow), compare_rows);
	return charged->count > 0 ? charged : NULL;
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

/* Execute a statement and return its number of rows, which can be read until the end. */
static uint64
begin(Statement *statement, const QuotaAttachment *attachment, const char *key, TimestampTz at, QuotaOwner *saved)
{
	static Oid types[4] = {REGCLASSOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum values[4] = {ObjectIdGetDatum(attachment->root), (Datum) 0, (Datum) 0, TimestampTzGetDatum(at)};

	quota_owner_begin_extension(saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* SPI_finish frees these */
	values[1] = CStringGetTextDatum(attachment->feature);
	if (key != NULL)
		values[2] = CStringGetTextDatum(key);
	if (statement->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(statement->text, statement->parameters, types);

		if (plan == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		statement->plan = plan;
	}
	if (SPI_execute_plan(statement->plan, values, NULL, statement->read_only, 0) < 0)
		elog(ERROR, "SPI_execute_plan failed");
	return SPI_processed;
}

/* Return the first column of a row. */
static TimestampTz
time_of(uint64 row)
{
	bool isnull;

	return DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
end(const QuotaOwner *saved)
{
	SPI_finish();
	quota_owner_end(saved);
}
