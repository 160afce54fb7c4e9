#!/usr/bin/env bash
# A study on a real Slurm of two nodes on this machine: a worker killed, a task queued again, the array cancelled and submitted
# again, a task whose time is up, the shared folder read-only for a while, a full disk. What comes out is compared, byte for byte, with a single run.
#
#   tests/slurm.sh PROGRAM [FOLDER]
#
# Needs root (for mounts and the daemons) and Slurm with munge (Debian: apt-get install slurm-wlm munge); says so where they are
# missing, and skips what cannot be mounted.
set -euo pipefail

program=$(realpath "${1:?the prunelens to test}")
work=$(realpath -m "${2:-$(mktemp -d)}")
skip() { echo "skipped: $*"; exit 0; }
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null ||
    skip "there is no Slurm here (Debian: apt-get install slurm-wlm munge)"
[ "$(id -u)" = 0 ] || skip "the daemons need root"
fail() { echo "failed: $*" >&2; exit 1; }
# Until a command succeeds, so many seconds at most.
until_true() {
    local seconds=$1 what=$2; shift 2
    for _ in $(seq "$((seconds * 5))"); do "$@" && return 0; sleep 0.2; done
    fail "waited $seconds s for $what"
}
mkdir -p "$work"
export HOME="$work/home"; mkdir -p "$HOME"

# --- Slurm: a controller and two nodes, all here.
slurm="$work/slurm"
mkdir -p "$slurm"/{state,log,run} /run/munge
chown munge: /run/munge
[ -s /etc/munge/munge.key ] || { head -c 1024 /dev/urandom > /etc/munge/munge.key; chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
munge -n >/dev/null 2>&1 || runuser -u munge -- munged
host=$(hostname -s)
cat > "$slurm/slurm.conf" <<CONF
ClusterName=study
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=27817
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/state/%n
SlurmctldPidFile=$slurm/run/slurmctld.pid
SlurmdPidFile=$slurm/run/slurmd.%n.pid
SlurmctldLogFile=$slurm/log/slurmctld.log
SlurmdLogFile=$slurm/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
# How long a task that was queued again waits is not told by Slurm's default of two minutes.
KillWait=20
JobRequeue=1
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=27821 CPUs=$(nproc) RealMemory=500 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=27822 CPUs=$(nproc) RealMemory=500 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
export SLURM_CONF="$slurm/slurm.conf"
shared="$work/shared"
end() {
    scancel --quiet --user root 2>/dev/null || true
    # A node that still has a task does not end when it is told to.
    for _ in $(seq 150); do [ -n "$(squeue --noheader 2>/dev/null)" ] || break; sleep 0.2; done
    for pid in "$slurm"/run/*.pid; do [ -s "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true; done
    mountpoint -q "$shared" && umount -l "$shared" || true
}
trap end EXIT
slurmctld -c
slurmd -N n1
slurmd -N n2
two_idle() { [ "$(sinfo --noheader --Node --format=%T 2>/dev/null | grep -c idle)" = 2 ]; }
until_true 300 "two idle nodes" two_idle

# --- The study: the demo, compressed in four ways.
cat > "$work/study.toml" <<'STUDY'
[grid]
compress = ["wanda:0.5", "magnitude:0.5", "rtn:int8", "rtn:int4:g64"]
ratios = [0.25, 0.5]
[metrics.core]
rows = 64
[metrics.sweep]
rows = 64
STUDY
echo "one run alone"
"$program" study run "$work/study.toml" --out "$work/alone" >"$work/alone.log" 2>&1 || { cat "$work/alone.log"; fail "the run alone"; }
results() { (cd "$1/cells" && find . -name cell.json | sort | xargs sha256sum); }
same() { diff <(results "$work/alone") <(results "$1") || fail "$1 differs from the run alone"; }

# --- A folder that can be full and read-only, where mounts are allowed.
mkdir -p "$shared"
mounted=yes
mount -t tmpfs -o size=64m tmpfs "$shared" 2>/dev/null || { mounted=; echo "skipped: read-only and full (no mount allowed here)"; }
# Logs are elsewhere: a file that is open for writing keeps a folder from becoming read-only.
mkdir -p "$work/logs"
submit() {
    "$program" study slurm "$work/study.toml" --out "$1" --work-arg=--lease=10 --work-arg=--checkpoint-every=1 \
        --work-arg=--patience=120 --sbatch-arg="--output=$work/logs/%A_%a.log" --submit | tail -1
}
job_of() { sed 's/.*job \([0-9]*\),.*/\1/'; }
gone() { [ -z "$(squeue --noheader --job "$1" 2>/dev/null)" ]; }
a_worker() { pgrep -f "study work $1 --index" >/dev/null; }
begun() { a_worker "$1" && [ -n "$(ls "$1/claims" 2>/dev/null)" ]; }
# A worker of the array had to say of something that it could not be written, because of this.
write_failed() { grep -qsE "(tried again for|no checkpoint).*$2|$2.*(tried again for|no checkpoint)" "$work/logs/$1"_*.log; }
some_done() { [ "$(find "$1/cells" -name cell.json 2>/dev/null | wc -l)" -ge "$2" ]; }
cells=$(find "$work/alone/cells" -name cell.json | wc -l)

echo "1. one worker killed by SIGKILL, one task queued again"
study="$shared/killed"
job=$(submit "$study" | job_of)
until_true 300 "a first worker" begun "$study"
until_true 300 "a first cell" some_done "$study" 1
kill -9 "$(pgrep -f "study work $study --index" | head -1)"
until_true 300 "another worker" begun "$study"
# One that is running now, whichever it is.
scontrol requeue "$(squeue --noheader --states running --job "$job" --format=%i | head -1)" || true
# Slurm starts what was queued again only after a while: the rest is a second submission, as a person would make it.
until_true 300 "the array to be through" eval '[ -z "$(squeue --noheader --states running --job '"$job"')" ]'
scancel "$job" 2>/dev/null || true
until_true 300 "the array to be gone" gone "$job"
job=$(submit "$study" | job_of)
until_true 900 "the second array" gone "$job"
# What the killed worker held is free once its lease is over.
until_true 300 "all cells" eval '"$program" study work "$study" --lease 10 >/dev/null 2>&1; some_done "$study" "$cells"'
same "$study"

echo "2. the array cancelled in the middle and submitted again"
study="$shared/cancelled"
job=$(submit "$study" | job_of)
until_true 300 "two cells" some_done "$study" 2
scancel "$job"
until_true 300 "the array to be gone" gone "$job"
before=$(find "$study/cells" -name cell.json -printf '%p %T@\n' | sort)
[ "$(wc -l <<<"$before")" -lt "$cells" ] || echo "   (it was quicker than the cancelling)"
job=$(submit "$study" | job_of)
until_true 900 "the second array" gone "$job"
some_done "$study" "$cells" || { cat "$work"/logs/*.log; fail "cells are missing"; }
after=$(find "$study/cells" -name cell.json -printf '%p %T@\n' | sort)
[ -z "$(comm -23 <(echo "$before") <(echo "$after"))" ] || fail "a cell that was there was measured again"
same "$study"

echo "   a task that is told that its time is up keeps what it has, and ends when it comes again"
study="$shared/requeued"
job=$(submit "$study" | job_of)
until_true 300 "a first cell" some_done "$study" 1
task=$(squeue --noheader --states running --job "$job" --format=%i | head -1)
# What Slurm sends two minutes before the limit, to the script alone.
scancel --batch --signal=USR1 "$task"
requeued() { [ "$(scontrol show job "$task" 2>/dev/null | grep -o 'Restarts=[0-9]*' | head -1)" = "Restarts=1" ]; }
until_true 300 "the task to be queued again" requeued
# Slurm holds it back for two minutes; nobody need wait for that here. A few seconds it must: what is started in the second in which
# it was ended is refused by its node ("Job credential revoked"), and does not come again.
sleep 3
scontrol update JobId="$task" StartTime=now
until_true 900 "the array with the task that came again" gone "$job"
some_done "$study" "$cells" || { cat "$work/logs/${job}"_*.log; fail "cells are missing, and nobody else was asked for them"; }
grep -qs "goes on from" "$work/logs/${job}"_*.log || echo "   (the task was stopped between two cells: nothing to go on from)"
same "$study"

if [ -n "$mounted" ]; then
    echo "3. the folder read-only for a while"
    study="$shared/readonly"
    job=$(submit "$study" | job_of)
    until_true 300 "a first cell" some_done "$study" 1
    # Files that are open for writing hold it up for a moment.
    until_true 120 "a read-only folder" mount -o remount,ro "$shared"
    until_true 300 "a write that failed on the read-only folder" write_failed "$job" "Read-only file system"
    mount -o remount,rw "$shared"
    until_true 900 "the array" gone "$job"
    until_true 300 "all cells" eval '"$program" study work "$study" --lease 10 >/dev/null 2>&1; some_done "$study" "$cells"'
    same "$study"

    echo "4. a full disk"
    study="$shared/full"
    job=$(submit "$study" | job_of)
    until_true 300 "a first cell" some_done "$study" 1
    head -c 64M /dev/zero > "$shared/filler" 2>/dev/null || true
    until_true 300 "a write that failed on the full disk" write_failed "$job" "the disk is full"
    rm "$shared/filler"
    until_true 900 "the array" gone "$job"
    until_true 300 "all cells" eval '"$program" study work "$study" --lease 10 >/dev/null 2>&1; some_done "$study" "$cells"'
    same "$study"
fi
echo "all $cells cells are those of the run alone"
