/*
 * row_places.h
 *		Row places: for the hash of a row's key, the tuple id of one of its versions.
 */
#ifndef QUOTA_ROW_PLACES_H
#define QUOTA_ROW_PLACES_H

#include "storage/itemptr.h"

extern bool quota_row_places_find(uint64 hash, ItemPointer tid);
extern void quota_row_places_remember(uint64 hash, const ItemPointerData *tid);

#endif
