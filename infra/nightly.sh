#!/bin/sh
# Runs `nightshift run` every day at NIGHT_AT (HH:MM, UTC) until it is stopped: what a container has instead of cron.
# A night that was interrupted goes on the next time; `docker compose exec night nightshift run` need not wait for it.
set -u
at=${NIGHT_AT:-02:00}
failed=${NIGHT_FAILED:-/tmp/night-failed} # there while the last night failed: what the health check looks for
child=

stop() {
  [ -z "$child" ] || kill "$child" 2>/dev/null
  wait
  exit 143
}
trap stop TERM INT

while :; do
  now=$(date -u +%s)
  next=$(date -u -d "$at" +%s) || exit 2
  [ "$next" -gt "$now" ] || next=$((next + 86400))
  sleep $((next - now)) &
  child=$!
  wait "$child"

  nightshift run &
  child=$!
  wait "$child"
  code=$?
  case $code in
    0 | 3) rm -f "$failed" ;; # 3: nothing was promoted, which is a result
    *)
      echo "nightly: the night ended with exit code $code" >&2
      echo "$code" >"$failed"
      ;;
  esac
done
