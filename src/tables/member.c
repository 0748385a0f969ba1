/*
 * Reads quota.account_users, quota.levels and the sponsor of an account, as they
 * are now, whatever the transaction's snapshot. Only callers whose level depends
 * on their user come here. No locks but AccessShareLock; allocates in the caller's
 * context.
 */
#include "postgres.h"

#include "tables/member.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"

enum
{
	ACCOUNT_USERS_ACCOUNT = 1,
	ACCOUNT_USERS_USER_ID = 2,

	ACCOUNTS_ACCOUNT = 1,
	ACCOUNTS_SPONSOR = 11,

	LEVELS_ROLE = 1,
	LEVELS_LEVEL = 2
};

static Oid table_oid(const char *name, AttrNumber last, const char *last_name);

/* True if a user is a member of an account. Both are text. */
bool
quota_member_is(Datum account, Datum user)
{
	Relation rel = table_open(table_oid("account_users", ACCOUNT_USERS_USER_ID, "user_id"), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool found;

	/* ScanKeyInit compares in the C collation, which these columns have */
	ScanKeyInit(&keys[0], ACCOUNT_USERS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	ScanKeyInit(&keys[1], ACCOUNT_USERS_USER_ID, BTEqualStrategyNumber, F_TEXTEQ, user);
	scan = systable_beginscan(rel, quota_compat_primary_key(rel), true, NULL, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, NoLock);
	return found;
}

/* The account that pays for another one, a copy; 0: none. */
Datum
quota_member_sponsor(Datum account)
{
	Relation rel = table_open(table_oid("accounts", ACCOUNTS_SPONSOR, "sponsor"), AccessShareLock);
	Datum sponsor = (Datum) 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, ACCOUNTS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	scan = systable_beginscan(rel, quota_compat_primary_key(rel), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, ACCOUNTS_SPONSOR, RelationGetDescr(rel), &isnull);

		if (!isnull)
			sponsor = PointerGetDatum(DatumGetTextPCopy(value));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return sponsor;
}

/*
 * The OID of quota.levels.
 *
 * Errors: undefined_table where the extension is not there.
 */
Oid
quota_member_levels_table(void)
{
	return table_oid("levels", LEVELS_LEVEL, "level");
}

/* All rows of quota.levels, in any order. */
QuotaLevelRow *
quota_member_levels(int *count)
{
	Relation rel = table_open(quota_member_levels_table(), AccessShareLock);
	int allocated = 8;
	QuotaLevelRow *rows = palloc(allocated * sizeof(QuotaLevelRow));
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple tuple;

	*count = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * sizeof(QuotaLevelRow));
		rows[*count].role = DatumGetObjectId(heap_getattr(tuple, LEVELS_ROLE, RelationGetDescr(rel), &isnull));
		rows[*count].level = TextDatumGetCString(heap_getattr(tuple, LEVELS_LEVEL, RelationGetDescr(rel), &isnull));
		(*count)++;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return rows;
}

/* A table of schema quota, known by the name of the last column that is read here. */
static Oid
table_oid(const char *name, AttrNumber last, const char *last_name)
{
	Oid schema = get_namespace_oid("quota", true);
	Oid relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
	char *found = OidIsValid(relid) ? get_attname(relid, last, true) : NULL;

	if (found == NULL || strcmp(found, last_name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table quota.%s does not exist, or is not as the extension made it", name),
				 errhint("Install the extension with CREATE EXTENSION quota.")));
	return relid;
}
