/*
 * SQLSTATEs of denials. All other errors use PostgreSQL's own codes.
 *
 * PostgREST and Supabase turn PTxyz into HTTP status xyz.
 */
#ifndef QUOTA_ERRORS_H
#define QUOTA_ERRORS_H

#include "utils/elog.h"

/* a limit is reached */
#define ERRCODE_QUOTA_EXCEEDED MAKE_SQLSTATE('P', 'T', '4', '2', '9')
/* the plan has no such feature */
#define ERRCODE_QUOTA_NOT_IN_PLAN MAKE_SQLSTATE('P', 'T', '4', '0', '2')
/* the account is suspended */
#define ERRCODE_QUOTA_SUSPENDED MAKE_SQLSTATE('P', 'T', '4', '0', '3')

#endif
