# What ./check, ./demo and bench/run share; bash, sourced:
#
#	. "$(dirname "$0")/test/lib.sh"
#	workspace "$@"		# from here on in a copy of the tree, not as root
#	build
#	start_server 'fsync = off'
#
# Everything happens in a new directory under /tmp that goes away at the end,
# with the server in it.  Nothing is installed but Debian packages that are
# missing.  PG_CONFIG=/path/to/pg_config picks another PostgreSQL, whose
# packages are then yours to install; QUOTA_MAJOR=17 picks Debian's, where the
# Debian has it.  One that can find an extension only
# below its own prefix is copied into the directory first.

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
postgresql=${QUOTA_MAJOR:-15}
pg_config=${PG_CONFIG:-/usr/lib/postgresql/$postgresql/bin/pg_config}

# Run the script that calls this in a copy of the tree, and clean up after it.
# Returns only there, with the copy as working directory and $work the
# directory that holds it.  Two things the caller may define beforehand:
# extra_packages, and a function bring_back, which runs outside when the script
# has ended, to copy results from $work/tree to $root.
workspace()
{
	if [ -n "${QUOTA_WORKSPACE:-}" ]; then
		work=$QUOTA_WORKSPACE
		cd "$root" || exit
		bindir=$("$pg_config" --bindir) || exit
		return
	fi

	install_packages

	trap leave EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# Not in TMPDIR: a socket's path is limited to 107 bytes, and the
	# postgres user must be able to get there.
	work=$(mktemp -d /tmp/quota.XXXXXX) || exit
	mkdir "$work/tree"
	tar -C "$root" --exclude=./.git -cf - . |
		tar -C "$work/tree" --no-same-owner -xf - || exit

	# The server refuses to run as root.
	local as_user=() variable script status=0
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres: "$work"
		as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
	fi
	for variable in ${!PG*}; do unset "$variable"; done
	script=$(realpath "$0")

	# A process group of its own, so that leave() can end all of it.
	QUOTA_WORKSPACE=$work PG_CONFIG=$pg_config LC_ALL=C.UTF-8 \
		HOME=$work TMPDIR=$work \
		setsid "${as_user[@]}" "$work/tree/${script#"$root"/}" "$@" &
	child=$!
	wait "$child" || status=$?
	if declare -F bring_back >/dev/null; then bring_back; fi
	exit "$status"
}

# End every process of the workspace and remove it.
leave()
{
	local status=$? try pid busy
	trap '' HUP INT TERM
	[ -n "${work:-}" ] || exit "$status"
	[ -z "${child:-}" ] || kill -TERM -- "-$child" 2>/dev/null

	# Servers are in sessions of their own, but work in their data
	# directory.  SIGQUIT is an immediate shutdown.
	for try in {1..100}; do
		busy=
		for pid in /proc/[0-9]*; do
			case $(readlink "$pid/cwd") in
				"$work"/*) busy="$busy ${pid#/proc/}" ;;
			esac
		done
		[ -n "$busy" ] || break
		if [ "$try" = 1 ]; then kill -QUIT $busy 2>/dev/null; fi
		if [ "$try" = 80 ]; then kill -KILL $busy 2>/dev/null; fi
		sleep 0.1
	done
	rm -rf "$work"
	exit "$status"
}

# Install what packages.txt and $extra_packages name and is missing.
install_packages()
{
	local package missing=() as_root=()
	if [ -n "${PG_CONFIG:-}" ] || ! command -v dpkg-query >/dev/null; then
		return
	fi
	for package in $(sed "s/#.*//; s/^\(postgresql-.*\)\b15\b/\1$postgresql/" "$root/packages.txt") ${extra_packages:-}; do
		dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null |
			grep -qx installed || missing+=("$package")
	done
	[ "${#missing[@]}" -gt 0 ] || return 0

	echo "Installing packages: ${missing[*]}" >&2
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null ||
			{ echo "Not root and no sudo: please install them." >&2; exit 1; }
		as_root=(sudo)
	fi

	# Debian's first PostgreSQL package also starts a server, which nobody
	# asked for here.
	local no_cluster=/etc/postgresql-common/createcluster.d/quota.conf
	local output status=0
	if [ ! -e /usr/share/postgresql-common ]; then
		"${as_root[@]}" mkdir -p "${no_cluster%/*}"
		echo "create_main_cluster = false" |
			"${as_root[@]}" tee "$no_cluster" >/dev/null
	fi
	"${as_root[@]}" apt-get -qq update >&2
	output=$("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
		--no-install-recommends -o DPkg::Lock::Timeout=600 \
		install "${missing[@]}" 2>&1) || status=$?
	if [ -e "$no_cluster" ]; then
		"${as_root[@]}" rm "$no_cluster"
		"${as_root[@]}" rmdir --ignore-fail-on-non-empty "${no_cluster%/*}"
	fi
	if [ "$status" != 0 ]; then
		echo "$output" >&2
		exit 3
	fi
}

# Compile, with the compiler options given, and install below $work/install.
# $work/quota.conf then holds the settings with which a server finds it there.
build()
{
	local dest=$work/install major
	major=$("$pg_config" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')

	# The copy may hold objects made elsewhere or with other options.
	# Bitcode for the JIT would only cost time.
	make -s clean with_llvm=no PG_CONFIG="$pg_config" >/dev/null &&
		make -s with_llvm=no PG_CONFIG="$pg_config" COPT="$*" &&
		make -s install with_llvm=no PG_CONFIG="$pg_config" COPT="$*" \
			DESTDIR="$dest" || return

	if [ "$major" -ge 18 ]; then
		echo "extension_control_path = '$dest$("$pg_config" --sharedir):\$system'"
	elif has_extension_destdir; then
		echo "extension_destdir = '$dest'"
	else
		copy_installation "$dest" || return
	fi >"$work/quota.conf"
	echo "dynamic_library_path = '$dest$("$pg_config" --pkglibdir):\$libdir'" \
		>>"$work/quota.conf"
}

# Debian's own setting; other servers look only where they are installed.
has_extension_destdir()
{
	"$bindir/postgres" --describe-config | grep -q '^extension_destdir'
}

# DEST: copy the server there, beside the extension, and use the copy.  Its
# programs find all else by their own place.
copy_installation()
{
	local prefix
	prefix=$(dirname "$bindir")
	case $prefix in
		/usr | /usr/local)
			echo "$pg_config: needs a PostgreSQL with a prefix of its own" >&2
			return 1 ;;
	esac
	cp -rn "$prefix/." "$1$prefix/" && bindir=$1$bindir
}

# Start a server of our own, with the settings given, one an argument.
# The environment then leads every client to it.  $launcher, if set, runs in
# place of the postgres program.
start_server()
{
	local data=$work/data
	export PATH=$bindir:$PATH
	export PGHOST=$work PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	export PSQLRC=/dev/null

	initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
		>"$work/initdb.log" 2>&1 || { cat "$work/initdb.log"; return 1; }
	{
		cat "$work/quota.conf"
		printf '%s\n' "listen_addresses = ''" \
			"unix_socket_directories = '$work'" \
			"max_connections = 200" \
			"timezone = 'UTC'" "log_timezone = 'UTC'" \
			"$@"
	} >>"$data/postgresql.conf"
	pg_ctl -D "$data" -l "$work/server.log" -t 300 ${launcher:+-p "$launcher"} \
		start >"$work/start.log" 2>&1 ||
		{ cat "$work/start.log" "$work/server.log"; return 1; }
}
