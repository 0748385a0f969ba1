/*
 * Plan documents of the examples
 */
CREATE OR REPLACE FUNCTION quota.quota_preset(name text)
	RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
DECLARE
	document jsonb := CASE name
	WHEN 'reports' THEN '{
		"features": {
			"report": {"kind": "counter", "unit": "report", "ledger": true},
			"schedule_run": {"kind": "counter", "unit": "run"}
		},
		"plans": {
			"free": {"name": "Free", "price": 0, "currency": "USD", "default": true, "limits": {
				"report": {"month": {"limit": 50, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.1}},
				"schedule_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"pro": {"name": "Pro", "currency": "USD", "display_order": 1, "limits": {
				"report": {"month": {"limit": 300, "on_limit": "charge", "warn_ratio": 0.8, "block_ratio": 1.1, "overage_price": 1.50}},
				"schedule_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"team": {"name": "Team", "currency": "USD", "display_order": 2, "limits": {
				"report": {"month": {"limit": 1000, "on_limit": "charge", "warn_ratio": 0.8, "block_ratio": 1.1, "overage_price": 1.00}},
				"schedule_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"affiliate": {"name": "Affiliate", "currency": "USD", "visible": false, "display_order": 3, "limits": {
				"report": {"month": {"limit": 5000, "on_limit": "charge", "warn_ratio": 0.8, "block_ratio": 1.1, "overage_price": 0}},
				"schedule_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"sponsored_free": {"name": "Sponsored Free", "price": 0, "currency": "USD", "visible": false, "display_order": 4, "limits": {
				"report": {"month": {"limit": 75, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.1}},
				"schedule_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}}
		}}'
	WHEN 'prompts' THEN '{
		"features": {
			"prompt": {"kind": "counter", "unit": "prompt"},
			"e2e_run": {"kind": "counter", "unit": "run"},
			"bytes_out": {"kind": "counter", "unit": "byte"},
			"snapshot": {"kind": "rate", "unit": "snapshot"},
			"git_export": {"kind": "flag", "description": "Export to git"},
			"multi_user": {"kind": "flag", "description": "Several users in one account"}
		},
		"plans": {
			"trial": {"name": "Trial", "currency": "USD", "default": true, "limits": {
				"prompt": {"month": {"limit": 30, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"e2e_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"bytes_out": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"snapshot": {"minute": {"limit": 0, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"git_export": false, "multi_user": false}},
			"solo": {"name": "Solo", "currency": "USD", "display_order": 1, "limits": {
				"prompt": {"month": {"limit": 10000, "on_limit": "warn", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"e2e_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"bytes_out": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"snapshot": {"minute": {"limit": 1, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"git_export": true, "multi_user": false}},
			"teams": {"name": "Teams", "currency": "USD", "display_order": 2, "limits": {
				"prompt": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"e2e_run": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"bytes_out": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"snapshot": {"minute": {"limit": 10, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"git_export": true, "multi_user": true}}
		}}'
	WHEN 'messages' THEN '{
		"features": {
			"message": {"kind": "counter", "unit": "message", "ledger": true},
			"token": {"kind": "counter", "unit": "token", "ledger": true},
			"document_sourcing": {"kind": "flag", "description": "Answers name their sources"},
			"pdf_generation": {"kind": "flag", "description": "Answers as PDF"}
		},
		"plans": {
			"free": {"name": "Free", "price": 0, "currency": "XOF", "default": true,
				"metadata": {"names": {"en": "Free", "fr": "Gratuit"}}, "limits": {
				"message": {"day": {"limit": 5, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}, "month": {"limit": 150, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"token": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"document_sourcing": false, "pdf_generation": false}},
			"pro": {"name": "Pro", "price": 7000, "currency": "XOF", "display_order": 1,
				"metadata": {"names": {"en": "Pro", "fr": "Pro"}}, "limits": {
				"message": {"day": {"limit": 100, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}, "month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"token": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"document_sourcing": true, "pdf_generation": true}},
			"max": {"name": "Max", "price": 22000, "currency": "XOF", "display_order": 2,
				"metadata": {"names": {"en": "Max", "fr": "Max"}}, "limits": {
				"message": {"day": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}, "month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"token": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"document_sourcing": true, "pdf_generation": true}},
			"enterprise": {"name": "Enterprise", "price": 85000, "currency": "XOF", "display_order": 3,
				"metadata": {"names": {"en": "Enterprise", "fr": "Entreprise"}}, "limits": {
				"message": {"day": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}, "month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"token": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"document_sourcing": true, "pdf_generation": true}}
		}}'
	WHEN 'jobs' THEN '{
		"features": {
			"job": {"kind": "counter", "unit": "job"},
			"storage_mb": {"kind": "gauge", "unit": "MB"},
			"api_call": {"kind": "counter", "unit": "call"},
			"compute_minute": {"kind": "counter", "unit": "minute"},
			"request": {"kind": "rate", "unit": "request"},
			"api_access": {"kind": "flag"},
			"priority_support": {"kind": "flag"}
		},
		"plans": {
			"free": {"name": "Free", "price": 0, "currency": "USD", "default": true, "limits": {
				"job": {"month": {"limit": 10, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"storage_mb": {"lifetime": {"limit": 100, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"api_call": {"day": {"limit": 100, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"compute_minute": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"request": {"minute": {"limit": 60, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"api_access": false, "priority_support": false}},
			"pro": {"name": "Pro", "price": 19.99, "currency": "USD", "display_order": 1, "rate_multiplier": 5, "limits": {
				"job": {"month": {"limit": 500, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"storage_mb": {"lifetime": {"limit": 10240, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"api_call": {"day": {"limit": 10000, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"compute_minute": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"request": {"minute": {"limit": 60, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"api_access": true, "priority_support": false}},
			"enterprise": {"name": "Enterprise", "price": 99.99, "currency": "USD", "display_order": 2, "rate_multiplier": 10, "limits": {
				"job": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"storage_mb": {"lifetime": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"api_call": {"day": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"compute_minute": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"request": {"minute": {"limit": 60, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}},
				"features": {"api_access": true, "priority_support": true}}
		}}'
	WHEN 'resume' THEN '{
		"features": {
			"ats_scan": {"kind": "counter", "unit": "scan"},
			"resume_tailor": {"kind": "counter", "unit": "resume"},
			"cover_letter": {"kind": "counter", "unit": "letter"},
			"jd_parse": {"kind": "counter", "unit": "job description"}
		},
		"plans": {
			"free": {"name": "Free", "price": 0, "currency": "USD", "default": true, "limits": {
				"ats_scan": {"month": {"limit": 2, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"resume_tailor": {"month": {"limit": 3, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"cover_letter": {"month": {"limit": 3, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"jd_parse": {"month": {"limit": 5, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"pro": {"name": "Pro", "currency": "USD", "display_order": 1, "limits": {
				"ats_scan": {"month": {"limit": 20, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"resume_tailor": {"month": {"limit": 25, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"cover_letter": {"month": {"limit": 30, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"jd_parse": {"month": {"limit": 60, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}},
			"elite": {"name": "Elite", "currency": "USD", "display_order": 2, "limits": {
				"ats_scan": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"resume_tailor": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"cover_letter": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
				"jd_parse": {"month": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}}}}
		}}'
	END;
BEGIN
	IF name IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'name must not be null';
	ELSIF document IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('preset "%s" does not exist', quota.shown(name)),
			HINT = 'There are: reports, prompts, messages, jobs, resume.';
	END IF;
	RETURN document;
END $$;
COMMENT ON FUNCTION quota.quota_preset IS 'the plan document of a shipped example: reports, prompts, messages, jobs or resume';
