#!/bin/bash
# MLflow's own server for a team: runs in PostgreSQL, artifacts on S3 or on disk, a password for everybody.
#
#   team/team_server.sh DIR [options of `mlflow server`]
#   team/team_server.sh ~/mlflow --artifacts-destination s3://bucket/mlflow --host 0.0.0.0
#
# Needs Debian's package postgresql and `pip install 'segsweep[server]'` (`make setup` has it). Ctrl-C stops all of it.
# All that it keeps is in DIR, which only you can read: the database, the administrator's password, artifacts.
# PostgreSQL listens on a socket in DIR alone, and lets in nobody but your own user. To use another one, export
# MLFLOW_BACKEND_STORE_URI=postgresql://USER@HOST/DATABASE and keep its password in ~/.pgpass.
# S3: keys in ~/.aws/credentials; MLFLOW_S3_ENDPOINT_URL for a store that is not Amazon's. docs/team.md has the rest.
set -euo pipefail
umask 077

die() {
    echo "team_server.sh: $*" >&2
    exit 2
}

[[ $# -gt 0 && $1 != -* ]] || die "say where to keep the database: team/team_server.sh DIR [options of mlflow server]"
mkdir -p "$1" || die "$1: cannot be made; choose a folder below one that you may write to"
folder=$(realpath "$1")
shift
[[ -O $folder ]] || die "$folder belongs to somebody else, who could read its passwords; choose a folder of your own"
chmod 700 "$folder"
exec 9> "$folder/lock"
flock -n 9 || die "$folder: a server runs in it already; stop that one first"

PATH="$(dirname "$(realpath "$0")")/../.venv/bin:$PATH"
for bin in /usr/lib/postgresql/*/bin; do PATH="$bin:$PATH"; done # Debian keeps them apart; the newest comes last
command -v mlflow > /dev/null || die "there is no mlflow; pip install 'segsweep[server]', or make setup"

database=
server=
stop() { # mlflow's processes first: they would complain of a database that is gone
    trap '' INT TERM
    [[ -z $server ]] || kill -TERM "$server" 2> /dev/null || true
    [[ -z $server ]] || wait "$server" || true
    [[ -z $database ]] || kill -INT "$database" 2> /dev/null || true # fast: ends open connections
    wait
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_postgres() { # as our child, with its data and its only socket in DIR
    command -v initdb > /dev/null || die "there is no PostgreSQL; apt install postgresql, or export MLFLOW_BACKEND_STORE_URI"
    [[ $EUID -ne 0 ]] || die "PostgreSQL does not run as root; start this as an ordinary user"
    [[ ${#folder} -lt 85 ]] || die "$folder: too long for the name of a socket; choose a folder with a shorter path"
    [[ -f $folder/postgres/PG_VERSION ]] ||
        initdb --auth-local=peer --auth-host=reject --encoding=UTF8 --locale=C -D "$folder/postgres" > "$folder/initdb.log" ||
        die "PostgreSQL cannot make its files; see $folder/initdb.log"
    postgres -D "$folder/postgres" -k "$folder" -c listen_addresses= >> "$folder/postgres.log" 2>&1 &
    database=$!
    export PGHOST=$folder PGDATABASE=mlflow # libpq fills in what the URI leaves out
    until pg_isready -q -d postgres; do
        kill -0 "$database" 2> /dev/null || die "PostgreSQL does not start; see $folder/postgres.log"
        sleep 0.2
    done
    psql -d postgres -qtAc "SELECT 1 FROM pg_database WHERE datname = 'mlflow'" | grep -q 1 || createdb mlflow
    export MLFLOW_BACKEND_STORE_URI=postgresql:///mlflow
}

secret() { # made once, in a file that only its owner reads; neither printed nor an argument of a process
    [[ -s $folder/$1 ]] || { head -c 24 /dev/urandom | base64 | tr '+/' '-_' > "$folder/$1.new" && mv "$folder/$1"{.new,}; }
    cat "$folder/$1"
}

[[ -n ${MLFLOW_BACKEND_STORE_URI:-} ]] || start_postgres
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret admin_password)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret secret_key)
export MLFLOW_AUTH_ADMIN_PASSWORD MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_DISABLE_TELEMETRY=true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false} # ten processes that sweeps never use
if [[ -z ${MLFLOW_AUTH_CONFIG_PATH:-} ]]; then
    export MLFLOW_AUTH_CONFIG_PATH=$folder/basic_auth.ini
    # EDIT: sweeps of all users share an experiment, which belongs to whoever was first; deleting stays the owner's.
    cat > "$MLFLOW_AUTH_CONFIG_PATH" << INI
[mlflow]
default_permission = EDIT
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
admin_username = admin
auth_cache_ttl_seconds = 60
INI
fi

echo "Everybody logs in; you as admin with the password in $folder/admin_password, others as you let them on /signup" >&2
cd "$folder" # where MLflow would leave what no option places elsewhere
mlflow server --app-name basic-auth --artifacts-destination "$folder/artifacts" "$@" &
server=$!
wait -n $server $database # whichever ends first
[[ -z $database ]] || kill -0 "$database" 2> /dev/null || die "PostgreSQL has ended; see $folder/postgres.log"
