/* Tables of accounts that are followed: rows of quota.adopted. */
#ifndef QUOTA_ADOPTED_H
#define QUOTA_ADOPTED_H

/* The columns that are followed, in the order of quota_adopt's arguments. */
typedef enum QuotaAdoptedColumn
{
	QUOTA_ADOPTED_KEY,
	QUOTA_ADOPTED_NAME,
	QUOTA_ADOPTED_PLAN,
	QUOTA_ADOPTED_TYPE,
	QUOTA_ADOPTED_OWNER,
	QUOTA_ADOPTED_CREATED,
	QUOTA_ADOPTED_COLUMNS
} QuotaAdoptedColumn;

typedef struct QuotaAdopted
{
	int64 id;
	Oid relation;
	char *columns[QUOTA_ADOPTED_COLUMNS]; /* NULL: none */
} QuotaAdopted;

extern bool quota_adopted_get(int64 id, QuotaAdopted *row);

#endif
