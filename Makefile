# quota: needs nothing but PGXS, and PG_CONFIG if pg_config is not on the PATH.

EXTENSION = quota
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" quota.control)
MODULE_big = quota
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
PG_CPPFLAGS = -I$(srcdir)/src
DATA_built = quota--$(EXTVERSION).sql
EXTRA_CLEAN = $(DATA_built) results output_iso regression.diffs regression.out

# Folders of sql in the order in which the script runs them: first tables.sql of
# each, then all else. install makes functions from those before it, and takes
# from everybody what stands before it.
DOMAINS = api rights catalogue entitlement accounts adoption usage reservations rates attach reports billing stripe audit ledger maintenance row_security cache guard install
TABLES = $(foreach domain,$(DOMAINS),$(wildcard sql/$(domain)/tables.sql))
FUNCTIONS = $(foreach domain,$(DOMAINS),$(filter-out %/tables.sql,$(sort $(wildcard sql/$(domain)/*.sql))))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(wildcard src/*.h src/*/*.h)

# The install script creates and never replaces: an object planted beforehand
# is an error. Every function in PL/pgSQL or with the owner's rights gets the
# same search_path here, so that none can go without.
quota--$(EXTVERSION).sql: $(TABLES) $(FUNCTIONS) quota.control
	@{ printf '%s\n' '\echo Use "CREATE EXTENSION quota" to load this file. \quit'; \
	   echo 'SET LOCAL search_path TO pg_catalog, pg_temp;'; \
	   echo 'SET LOCAL standard_conforming_strings TO on;'; \
	   cat $(TABLES) $(FUNCTIONS) | sed -E -e 's/^CREATE OR REPLACE /CREATE /' \
		-e '/^\tLANGUAGE .*(plpgsql|SECURITY DEFINER)/s/$$/ SET search_path = pg_catalog, pg_temp/'; } > $@

.PHONY: format checkver layers doc-index tidy
# CHECK=1 only tells what make format would change.
format:
	clang-format $(if $(CHECK),--dry-run --Werror,-i) $(wildcard src/*.[ch] src/*/*.[ch])

# clang-tidy's bug checks, on all processors. Assertions tell it what cannot be.
tidy:
	printf '%s\n' $(OBJS:.o=.c) | xargs -P "$$(nproc)" -I {} clang-tidy --quiet {} -- \
		$(filter -I% -D%,$(CPPFLAGS)) -DUSE_ASSERT_CHECKING -isystem $(shell $(PG_CONFIG) --includedir-server)

# No call goes up or in a circle. WRITE=1 puts the list of files into doc/design.md.
layers: $(OBJS)
	@python3 test/source/layers.py $(if $(WRITE),--write)

# Write the list of functions into doc/reference/README.md; ./check source proves it.
doc-index: $(DATA_built)
	@python3 test/source/reference.py --write

# The version is written by hand in quota.control; the others must agree.
checkver:
	@grep -q '"version": *"$(EXTVERSION)"' META.json || { echo "META.json: not $(EXTVERSION)"; exit 1; }
	@grep -q '^## .*$(EXTVERSION)' CHANGELOG.md || { echo "CHANGELOG.md: no $(EXTVERSION)"; exit 1; }
