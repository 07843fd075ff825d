#!/bin/bash
#SBATCH --job-name=segsweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --no-requeue
#SBATCH --output=segsweep-%j.log
#
# A sweep on Slurm: Ray on all nodes of a job, `segsweep` on the first of them, from a folder that they share.
#
#   sbatch clusters/slurm.sh launch search_spaces/camvid.yaml --storage sweeps
#   sbatch clusters/slurm.sh resume camvid-1          when the time was up, or a node was lost
#   sbatch --nodes=8 --gpus-per-node=4 --partition=gpu clusters/slurm.sh launch ...
#
# Run it in the folder of the clone, after `make setup` there; an environment elsewhere: export SEGSWEEP_VENV=DIR.
# Without GPUs take the line out. Nodes are taken whole (--exclusive): two Rays on a node would use the same ports.
# Five minutes before the time is up (--signal) the sweep is interrupted, as by Ctrl-C; `resume` goes on with it.
set -euo pipefail
umask 077

die() {
    echo "slurm.sh: $*" >&2
    exit 2
}

[[ ${SLURM_JOB_ID-} ]] || die "is for sbatch: sbatch clusters/slurm.sh launch FILE"
[[ ${1-} == launch || ${1-} == resume || ${1-} == extend ]] || die "say launch FILE, resume SWEEP or extend SWEEP"
venv=${SEGSWEEP_VENV:-$SLURM_SUBMIT_DIR/.venv}
[[ -x $venv/bin/segsweep ]] || die "no segsweep in $venv; make setup, or name its environment in \$SEGSWEEP_VENV"
export PATH="$venv/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
cd "$SLURM_SUBMIT_DIR"

# The token is in the environment of this job's processes, which only you can read, and in no file.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

# Ray's files: a folder of this job on the disk of each node. Made here, and not taken if it is there already: others could
# write into it. Ray opens the folder that it is given to everybody, hence one inside. Short, because the path of a socket
# has at most 107 characters.
folder=/tmp/ray-$SLURM_JOB_ID
each_node=(srun --overlap --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)
"${each_node[@]}" mkdir -m 700 "$folder" || die "$folder cannot be made on every node"

ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
port=6379
log=$SLURM_SUBMIT_DIR/segsweep-$SLURM_JOB_ID-ray.log
start=(srun --overlap --output="$log" --open-mode=append)
common=(--num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --block)
ray_head=
ray_workers=
sweep=
clean_up() {
    trap '' TERM INT
    for process in $sweep $ray_workers $ray_head; do kill -TERM "$process" 2> /dev/null || true; done
    wait
    "${each_node[@]}" rm -rf "$folder" || true
}
trap clean_up EXIT
trap '[[ -z $sweep ]] || kill -TERM "$sweep" 2> /dev/null || true' TERM INT

"${start[@]}" --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
    ray start --head --node-ip-address="$ip" --port=$port --temp-dir="$folder/ray" --dashboard-host=127.0.0.1 \
    "${common[@]}" &
ray_head=$!
for ((second = 0; ; second++)); do
    (: < "/dev/tcp/$ip/$port") 2> /dev/null && break
    kill -0 "$ray_head" 2> /dev/null && ((second < 180)) || die "Ray did not start on $SLURMD_NODENAME; see $log"
    sleep 1
done
if ((SLURM_JOB_NUM_NODES > 1)); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    "${start[@]}" --nodes=$others --ntasks=$others --ntasks-per-node=1 --exclude="$SLURMD_NODENAME" \
        ray start --address="$ip:$port" "${common[@]}" &
    ray_workers=$!
fi

segsweep "$@" --address "$ip:$port" &
sweep=$!
code=0
wait "$sweep" || code=$?
while kill -0 "$sweep" 2> /dev/null; do # a signal ends `wait` before the sweep has ended
    code=0
    wait "$sweep" || code=$?
done
exit "$code"
