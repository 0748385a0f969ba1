/*
 * stripe.c
 *		Check the signature of Stripe webhooks, and encode requests to Stripe.
 *
 * All else about Stripe is SQL, in sql/stripe. Reads no table. Locks: none.
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type_d.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "compat.h"
#include "guc.h"

#define HEX_LENGTH (2 * (size_t) PG_SHA256_DIGEST_LENGTH)
/* most bytes accepted; a webhook has some thousand, its signature some hundred */
#define MAX_PAYLOAD (1024 * 1024)
#define MAX_SIGNATURE 8192
/* one for each secret of the endpoint; Stripe keeps two for a day */
#define MAX_DIGESTS 16
/* of the time in seconds; keeps the conversion to a timestamp from overflowing */
#define MAX_DIGITS 10

/* The header: t=1492774577,v1=...,v1=...,v0=... */
typedef struct SignatureHeader
{
	char *signed_at; /* as text, since it is part of what is signed */
	List *digests;   /* char *, in hexadecimal digits */
} SignatureHeader;

static const char *to_utf8(text *value, Size *length);
static SignatureHeader parse_header(char *header);
static void check_time(const char *signed_at);
static void digest_in_hex(const char *secret, size_t secret_length, const StringInfo signed_text, char *hex);
static bool same_digest(const char *digest, const char *expected);
pg_noreturn static void malformed(const char *detail);

/*
 * quota.check_stripe_signature(payload, signature, secrets): refuse a payload
 * that was signed with none of the secrets, or too long ago.
 *
 * payload: the body of the request; its bytes in UTF-8 are signed. signature:
 * the header Stripe-Signature.
 * Errors: object_not_in_prerequisite_state without a secret;
 * invalid_authorization_specification for a signature that is malformed, does
 * not match or is not of now; invalid_parameter_value for arguments that are
 * too long.
 */
QUOTA_FUNCTION(quota_check_stripe_signature)
{
	const char *utf8;
	Size length;
	SignatureHeader header;
	Datum *secrets;
	bool *nulls;
	int secret_count;
	StringInfoData signed_text;
	bool matches = false;

	quota_argument_check_not_null(fcinfo, 0, "payload");
	quota_argument_check_not_null(fcinfo, 1, "signature");
	quota_argument_check_not_null(fcinfo, 2, "secrets");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, &secrets, &nulls, &secret_count);
	if (secret_count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is no signing secret of a Stripe webhook"),
				 errhint("Insert the endpoint's secret into quota.stripe_secrets.")));

	/* before they are decompressed */
	quota_argument_check_length("payload", toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ, MAX_PAYLOAD);
	quota_argument_check_length("signature", toast_raw_datum_size(PG_GETARG_DATUM(1)) - VARHDRSZ, MAX_SIGNATURE);
	header = parse_header(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	utf8 = to_utf8(PG_GETARG_TEXT_PP(0), &length);
	initStringInfo(&signed_text);
	appendStringInfo(&signed_text, "%s.", header.signed_at);
	appendBinaryStringInfo(&signed_text, utf8, length);

	for (int i = 0; i < secret_count; i++)
	{
		char expected[HEX_LENGTH + 1];
		text *secret;
		ListCell *cell;

		if (nulls[i])
			continue;
		secret = DatumGetTextPP(secrets[i]);
		digest_in_hex(VARDATA_ANY(secret), VARSIZE_ANY_EXHDR(secret), &signed_text, expected);
		foreach (cell, header.digests)
		{
			CHECK_FOR_INTERRUPTS();
			matches |= same_digest(lfirst(cell), expected);
		}
	}
	if (!matches)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("Stripe signature does not match the payload"),
				 errhint("Pass the body of the request byte for byte, and store the secret of the endpoint that received it.")));
	check_time(header.signed_at);
	PG_RETURN_VOID();
}

/* Split the header, in place. Only scheme v1 counts. */
static SignatureHeader
parse_header(char *header)
{
	SignatureHeader parsed = {NULL, NIL};

	for (char *part = header; part != NULL;)
	{
		char *comma = strchr(part, ',');

		CHECK_FOR_INTERRUPTS();
		if (comma != NULL)
			*comma = '\0';
		while (*part == ' ')
			part++;
		if (strncmp(part, "t=", 2) == 0)
		{
			if (parsed.signed_at != NULL)
				malformed("It has more than one time.");
			parsed.signed_at = part + 2;
		}
		else if (strncmp(part, "v1=", 3) == 0)
		{
			if (list_length(parsed.digests) == MAX_DIGESTS)
				malformed("It has too many signatures.");
			parsed.digests = lappend(parsed.digests, part + 3);
		}
		part = comma == NULL ? NULL : comma + 1;
	}
	if (parsed.signed_at == NULL)
		malformed("It has no time \"t=\".");
	if (parsed.digests == NIL)
		malformed("It has no signature \"v1=\".");
	return parsed;
}

/*
 * Refuse a signature that is further from now than quota.stripe_tolerance, so
 * that a webhook that somebody has overheard cannot be sent again later.
 */
static void
check_time(const char *signed_at)
{
	size_t digits = strspn(signed_at, "0123456789");
	TimestampTz now = quota_guc_clock();
	TimestampTz at;

	if (digits == 0 || digits > MAX_DIGITS || signed_at[digits] != '\0')
		malformed("Its time is no number of seconds.");
	at = time_t_to_timestamptz((pg_time_t) strtoi64(signed_at, NULL, 10));
	if (at < now - quota_guc_stripe_tolerance * USECS_PER_SEC || at > now + quota_guc_stripe_tolerance * USECS_PER_SEC)
	{
		char *at_text = pstrdup(timestamptz_to_str(at));

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("Stripe signature is not of now"),
				 errdetail("It was made at %s, and now it is %s; they may be %d seconds apart.",
						   at_text, timestamptz_to_str(now), quota_guc_stripe_tolerance)));
	}
}

static void
digest_in_hex(const char *secret, size_t secret_length, const StringInfo signed_text, char *hex)
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);

	if (context == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (pg_hmac_init(context, (const uint8 *) secret, secret_length) < 0 ||
		pg_hmac_update(context, (const uint8 *) signed_text->data, signed_text->len) < 0 ||
		pg_hmac_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute HMAC: %s", pg_hmac_error(context));
	pg_hmac_free(context);
	hex_encode((const char *) digest, sizeof(digest), hex);
	hex[HEX_LENGTH] = '\0';
}

/* Compare in constant time, which tells nothing about how much of a guess is right. */
static bool
same_digest(const char *digest, const char *expected)
{
	unsigned char difference = 0;

	if (strlen(digest) != HEX_LENGTH)
		return false;
	for (size_t i = 0; i < HEX_LENGTH; i++)
		difference |= (unsigned char) (digest[i] ^ expected[i]);
	return difference == 0;
}

static void
malformed(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("Stripe signature is malformed"),
			 errdetail_internal("%s", detail),
			 errhint("Pass the header \"Stripe-Signature\" of the request unchanged.")));
}

/* quota.percent_encode(value): encode its bytes in UTF-8, except letters, digits and ._~- */
QUOTA_FUNCTION(quota_percent_encode)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
	Size length;
	const char *utf8 = to_utf8(quota_argument_text(fcinfo, 0, "value"), &length);
	StringInfoData encoded;

	initStringInfo(&encoded);
	for (Size i = 0; i < length; i++)
	{
		if (utf8[i] != '\0' && strchr(unreserved, utf8[i]) != NULL)
			appendStringInfoChar(&encoded, utf8[i]);
		else
			appendStringInfo(&encoded, "%%%02X", (unsigned char) utf8[i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(encoded.data, encoded.len));
}

/* Return the bytes of a text in UTF-8. They are not terminated. */
static const char *
to_utf8(text *value, Size *length)
{
	const char *utf8 = pg_server_to_any(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), PG_UTF8);

	/* a converted string is terminated */
	*length = utf8 == VARDATA_ANY(value) ? VARSIZE_ANY_EXHDR(value) : strlen(utf8);
	return utf8;
}
