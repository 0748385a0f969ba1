/*
 * ledger.c
 *		Insert rows into quota.events, partitioned by time, and quota.alerts.
 *
 * An event goes straight into the partition that holds its time. The backend
 * remembers which one that is until the relcache entry of quota.events changes. A
 * lock of the partition alone keeps that right: the partition cannot be dropped then,
 * and a default partition cannot lose its rows to a new one, which would lock it.
 *
 * Lock						Protects						Order				While held
 * partition, quota.alerts		as INSERT does, until commit	after the counters	-
 *
 * Memory: static, for the partition; appenders in the store's context.
 */
#include "postgres.h"

#include "tables/ledger.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "tables/store_private.h"

typedef enum EventColumn
{
	EVENT_ID,
	EVENT_AT,
	EVENT_ACCOUNT,
	EVENT_USER_ID,
	EVENT_FEATURE,
	EVENT_PLAN,
	EVENT_WHAT,
	EVENT_KIND,
	EVENT_AMOUNT,
	EVENT_DECISION,
	EVENT_REASON,
	EVENT_USED,
	EVENT_USAGE_LIMIT,
	EVENT_PERIOD,
	EVENT_PERIOD_START,
	EVENT_KEY,
	EVENT_METADATA,
	EVENT_COLUMNS
} EventColumn;

static const char *const event_columns[EVENT_COLUMNS] = {
	"id", "at", "account", "user_id", "feature", "plan", "what", "kind", "amount",
	"decision", "reason", "used", "usage_limit", "period", "period_start", "key", "metadata"};

enum
{
	ALERT_ID,
	ALERT_AT,
	ALERT_ACCOUNT,
	ALERT_FEATURE,
	ALERT_PLAN,
	ALERT_PERIOD,
	ALERT_PERIOD_START,
	ALERT_THRESHOLD,
	ALERT_USED,
	ALERT_USAGE_LIMIT,
	ALERT_COLUMNS
};

/* The partition of quota.events written last, and the times that it holds. */
static struct
{
	bool valid;
	Oid oid;
	TimestampTz from;
	TimestampTz to; /* not included */
	AttrNumber columns[EVENT_COLUMNS];
} partition;

static void relation_changed(Oid relid);
static Relation open_partition(TimestampTz at);
static void find_partition(TimestampTz at);
static TimestampTz bound_at(PartitionBoundInfo bounds, int number, TimestampTz unbounded);
static Datum text_or_null(const char *value, bool *isnull);

void
quota_ledger_init(void)
{
	quota_relations_on_change(relation_changed);
}

/*
 * Insert an event.
 *
 * Errors: object_not_in_prerequisite_state where no partition can hold it.
 */
void
quota_ledger_insert_event(QuotaStore *store, const QuotaEventRow *row)
{
	Datum values[EVENT_COLUMNS];
	bool nulls[EVENT_COLUMNS] = {false};

	if (store->appenders[EVENTS] == NULL)
		quota_store_open_appender(store, EVENTS, open_partition(row->at));
	values[EVENT_ID] = Int64GetDatum(nextval_internal(quota_relations_oids()->tables[EVENT_IDS], false));
	values[EVENT_AT] = TimestampTzGetDatum(row->at);
	values[EVENT_ACCOUNT] = row->account;
	values[EVENT_USER_ID] = text_or_null(row->user_id, &nulls[EVENT_USER_ID]);
	values[EVENT_FEATURE] = CStringGetTextDatum(row->feature);
	values[EVENT_PLAN] = text_or_null(row->plan, &nulls[EVENT_PLAN]);
	values[EVENT_WHAT] = CStringGetTextDatum(row->what);
	values[EVENT_KIND] = CStringGetTextDatum(row->kind);
	values[EVENT_AMOUNT] = Int64GetDatum(row->amount);
	values[EVENT_DECISION] = ObjectIdGetDatum(quota_relations_oids()->verdicts[row->verdict]);
	values[EVENT_REASON] = CStringGetTextDatum(row->reason);
	values[EVENT_USED] = Int64GetDatum(row->used);
	values[EVENT_USAGE_LIMIT] = Int64GetDatum(row->usage_limit);
	nulls[EVENT_USAGE_LIMIT] = row->unlimited;
	nulls[EVENT_PERIOD] = nulls[EVENT_PERIOD_START] = !row->has_period;
	values[EVENT_PERIOD] = row->has_period ? ObjectIdGetDatum(quota_relations_period_oid(row->period)) : (Datum) 0;
	values[EVENT_PERIOD_START] = TimestampTzGetDatum(row->period_start);
	values[EVENT_KEY] = text_or_null(row->key, &nulls[EVENT_KEY]);
	values[EVENT_METADATA] = row->metadata;
	nulls[EVENT_METADATA] = row->metadata == (Datum) 0;
	quota_appender_insert(store->appenders[EVENTS], partition.columns, EVENT_COLUMNS, values, nulls);
	store->written = true;
}

/* Insert an alert. */
void
quota_ledger_insert_alert(QuotaStore *store, const QuotaAlertRow *row)
{
	Datum values[ALERT_COLUMNS];
	bool nulls[ALERT_COLUMNS] = {false};

	values[ALERT_ID] = Int64GetDatum(nextval_internal(quota_relations_oids()->tables[ALERT_IDS], false));
	values[ALERT_AT] = TimestampTzGetDatum(row->at);
	values[ALERT_ACCOUNT] = row->account;
	values[ALERT_FEATURE] = CStringGetTextDatum(row->feature);
	values[ALERT_PLAN] = text_or_null(row->plan, &nulls[ALERT_PLAN]);
	values[ALERT_PERIOD] = ObjectIdGetDatum(quota_relations_period_oid(row->period));
	values[ALERT_PERIOD_START] = TimestampTzGetDatum(row->period_start);
	values[ALERT_THRESHOLD] = CStringGetTextDatum(row->threshold);
	values[ALERT_USED] = Int64GetDatum(row->used);
	values[ALERT_USAGE_LIMIT] = Int64GetDatum(row->usage_limit);
	quota_store_insert(store, ALERTS, ALERT_COLUMNS, values, nulls);
}

/* Forget the partition: quota.events changes with its partitions. */
static void
relation_changed(Oid relid)
{
	if (quota_relations_may_be(EVENTS, relid))
		partition.valid = false;
}

/* Open and lock the partition that holds a time. */
static Relation
open_partition(TimestampTz at)
{
	for (;;)
	{
		Relation rel;

		CHECK_FOR_INTERRUPTS();
		if (!partition.valid || at < partition.from || at >= partition.to)
			find_partition(at);
		rel = try_table_open(partition.oid, RowExclusiveLock);
		/* taking the lock processed invalidations */
		if (rel != NULL && partition.valid)
		{
			quota_relations_check_triggers(rel);
			return rel;
		}
		if (rel != NULL)
			table_close(rel, RowExclusiveLock);
		partition.valid = false;
	}
}

static void
find_partition(TimestampTz at)
{
	Relation events = quota_relations_open(EVENTS, AccessShareLock);
	PartitionKey key = RelationGetPartitionKey(events);
	PartitionDesc desc = RelationGetPartitionDesc(events, true);
	PartitionBoundInfo bounds = desc->boundinfo;
	Datum value = TimestampTzGetDatum(at);
	bool equal;
	int below;
	int number = -1;

	if (bounds != NULL)
	{
		below = partition_range_datum_bsearch(key->partsupfunc, key->partcollation, bounds, 1, &value, &equal);
		number = bounds->indexes[below + 1] >= 0 ? bounds->indexes[below + 1] : bounds->default_index;
	}
	if (number < 0 || get_rel_relkind(desc->oids[number]) != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table quota.events has no partition for %s", timestamptz_to_str(at)),
				 errdetail("The extension makes a default partition, and partitions that are ordinary tables.")));
	partition.valid = true;
	partition.oid = desc->oids[number];
	partition.from = bound_at(bounds, below, DT_NOBEGIN);
	partition.to = bound_at(bounds, below + 1, DT_NOEND);
	/* a partition may have them in another order */
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		partition.columns[i] = get_attnum(partition.oid, event_columns[i]);
		if (partition.columns[i] == InvalidAttrNumber)
		{
			partition.valid = false;
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table quota.events is not as the extension made it")));
		}
	}
	table_close(events, AccessShareLock);
}

/* Return a bound between partitions; unbounded for those before the first and after the last. */
static TimestampTz
bound_at(PartitionBoundInfo bounds, int number, TimestampTz unbounded)
{
	if (number < 0 || number >= bounds->ndatums || bounds->kind[number][0] != PARTITION_RANGE_DATUM_VALUE)
		return unbounded;
	return DatumGetTimestampTz(bounds->datums[number][0]);
}

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
}
