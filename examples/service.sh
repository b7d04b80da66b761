#!/usr/bin/env bash
# Paxos as a service: three replica processes, used from the command line, that lose their leader.
#
#   examples/service.sh [tcp|ws] [BASE_PORT]
#
# Needs `paxos` on the PATH. Everything is made in a temporary directory and removed at the end.
set -euo pipefail

transport=${1:-tcp}
base_port=${2:-7001}
directory=$(mktemp -d)
declare -A replica
trap 'kill "${replica[@]}" 2>/dev/null || true; wait; rm -rf "$directory"' EXIT

serve() { # start replica $1 and wait until it says that it answers clients
    mkfifo "$directory/ready-$1"
    paxos serve --node "$1" >"$directory/ready-$1" 2>>"$directory/replica-$1.log" &
    replica[$1]=$!
    read -r ready <"$directory/ready-$1" || { cat "$directory/replica-$1.log" >&2; exit 1; }
    rm "$directory/ready-$1"
    echo "$ready"
}

paxos init "$directory/cluster" --replicas 3 --transport "$transport" --base-port "$base_port"
export PAXOS_CONFIG=$directory/cluster/cluster.toml
for node in 1 2 3; do serve "$node"; done

paxos config put site-7/cam-3/fps 25
paxos config get site-7/cam-3/fps
paxos status

# The "role" and "node" of each replica stand in one JSON object: find who leads, and kill it.
leader=$(paxos status --json | python3 -c '
import json, sys
print(next(n["node"] for n in json.load(sys.stdin)["nodes"] if n["role"] == "leader"))')
kill -9 "${replica[$leader]}"
echo "killed replica $leader"

# The others elect a leader; the client finds it. Only one of these two can win.
paxos config put site-7/cam-3/fps 30 --if-value 25
paxos config put site-7/cam-3/fps 60 --if-value 25 || echo "refused: somebody was faster"

serve "$leader"
paxos config get site-7/cam-3/fps
paxos config history site-7/cam-3/fps
