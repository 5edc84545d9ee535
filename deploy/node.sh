#!/bin/sh
# Runs one node of a training that may be taken away at any time:
#
#     node.sh RUN COMMAND...        COMMAND is torchrun with all its arguments, RUN the run's folder
#
# SIGTERM (the pod is evicted, the machine is reclaimed) goes on to torchrun, which tells its ranks; they save after the
# same update as all others and exit with status 0. A training that has ended so is not finished: then this
# script exits with status 75, "try again later", so that no scheduler takes it for done.
run=$1
shift

# In seconds, how long torchrun waits for its ranks to save; its default is 30.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-540}"

# The trap stands before the start, so that no signal finds this script without one; and a process that has only just
# been forked would swallow the signal with the trap that it inherits: it gets a second.
torchrun=
told=
tell() {
  sleep 1
  kill -TERM "$torchrun"
}
trap 'told=yes; [ -z "$torchrun" ] || tell' TERM INT
"$@" &
torchrun=$!
[ -z "$told" ] || tell

wait "$torchrun"
status=$?
while kill -0 "$torchrun" 2>/dev/null; do # a signal interrupts `wait`
  wait "$torchrun"
  status=$?
done

if [ -n "$told" ] || [ "$status" -eq 0 ]; then
  [ -f "$run/finished.json" ] && exit 0
  exit 75
fi
exit "$status"
