#!/usr/bin/env bash
# A real Apache Kafka on this machine without Docker: fetches the jars, formats KRaft storage, runs 1 or more brokers.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: run.sh start|stop|status|address [--brokers N] [--port P] [--data DIR] [--properties FILE]

  start     start every broker of the cluster that does not run, wait until all answer, print the address
  stop      stop them cleanly; one that does not within 30 s is killed, and mends its log at the next start
  status    one line a broker; exit 1 unless all run
  address   host:port,... for bootstrap_servers

  --brokers N        1 (default) or more; 3 or more replicate everything three times
  --port P           port of the first broker (9092); the others follow, controllers are 100 higher
  --data DIR         where everything is kept ($TMPDIR/nightshift-kafka-$UID); remove it to begin anew
  --properties FILE  appended to every broker's server.properties (TLS, SASL, limits)

The first start decides about brokers, port and properties; later calls need only --data. Broker N's process id is in
DIR/N/pid, what it says in DIR/N/log. Needs Java 17 or newer, and Maven for the first start.
TEXT
}

fail() {
  echo "run.sh: $1" >&2
  exit "${2:-1}"
}

here=$(cd "$(dirname "$0")" && pwd)
jars=$here/jars
java=(java -Xms128m -Xmx384m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*")
data=${TMPDIR:-/tmp}/nightshift-kafka-$UID
brokers=1
port=9092
properties=/dev/null
patience=90
grace=30

read_arguments() {
  command=${1:-}
  [ $# -eq 0 ] || shift
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value; see run.sh --help" 2
    case $1 in
      --brokers) brokers=$2 ;;
      --port) port=$2 ;;
      --data) data=$2 ;;
      --properties) properties=$2 ;;
      *) fail "unknown option $1; see run.sh --help" 2 ;;
    esac
    shift 2
  done
  [[ $brokers =~ ^[1-9]$ ]] || fail "--brokers takes 1 to 9" 2
  [[ $port =~ ^[0-9]+$ ]] || fail "--port takes a number" 2
  [ -r "$properties" ] || fail "$properties cannot be read" 2
}

nodes() { seq 1 "$brokers"; }
broker_port() { echo $((port + $1 - 1)); }
controller_port() { echo $((port + 99 + $1)); }
smaller() { echo $(($1 < $2 ? $1 : $2)); }

address() {
  local node all=()
  for node in $(nodes); do all+=("127.0.0.1:$(broker_port "$node")"); done
  (IFS=, && echo "${all[*]}")
}

voters() {
  local node all=()
  for node in $(nodes); do all+=("$node@127.0.0.1:$(controller_port "$node")"); done
  (IFS=, && echo "${all[*]}")
}

need_java() {
  command -v java >/dev/null || fail "there is no java on the PATH; install 17 or newer (Debian: openjdk-17-jre-headless)"
  local major
  major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${major:-0}" -ge 17 ] || fail "Kafka 4 needs Java 17 or newer, and the PATH has ${major:-an unknown version}"
}

have_jars() { [ "$jars/.complete" -nt "$here/pom.xml" ]; }

fetch_jars() {
  if have_jars; then return; fi
  command -v mvn >/dev/null || fail "there is no mvn on the PATH to fetch Kafka with; install Maven (Debian: maven)"
  local fetching=$jars.$$
  mvn --quiet --batch-mode -Dstyle.color=never --file "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$fetching" >&2 \
    || { rm -rf "$fetching"; fail "Maven could not fetch Kafka; its message is above"; }
  touch "$fetching/.complete"
  if have_jars; then
    rm -rf "$fetching"
  else
    rm -rf "$jars"
    mv "$fetching" "$jars"
  fi
}

configure() {
  local node=$1 replicas in_sync
  replicas=$(smaller "$brokers" 3)
  in_sync=$(smaller "$replicas" 2)
  mkdir -p "$data/$node"
  cat - "$properties" >"$data/$node/server.properties" <<TEXT
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$(voters)
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$(broker_port "$node"),CONTROLLER://127.0.0.1:$(controller_port "$node")
log.dirs=$data/$node/storage
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.num.partitions=3
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
TEXT
}

format_storage() {
  local node cluster
  mkdir -p "$data"
  cluster=$("${java[@]}" kafka.tools.StorageTool random-uuid 2>/dev/null)
  for node in $(nodes); do
    configure "$node"
    "${java[@]}" kafka.tools.StorageTool format --cluster-id "$cluster" --config "$data/$node/server.properties" \
      >"$data/$node/log" 2>&1 || fail "the storage of broker $node cannot be formatted: $(tail -n 3 "$data/$node/log")"
  done
  printf 'brokers=%s port=%s\n' "$brokers" "$port" >"$data/cluster"
}

remember_cluster() {
  [ -f "$data/cluster" ] || fail "there is no cluster in $data; start one"
  read -r brokers port <<<"$(sed 's/[a-z]*=//g' "$data/cluster")"
}

runs() {
  local pid
  pid=$(cat "$data/$1/pid" 2>/dev/null) && ps -ww -p "$pid" -o args= 2>/dev/null | grep -qF "$data/$1/server.properties"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$(broker_port "$1")") 2>/dev/null; }

await() { # await CONDITION NODE [SECONDS]: until CONDITION holds, at most so long
  local end=$((SECONDS + ${3:-$patience}))
  until "$1" "$2"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.2
  done
}

started_or_dead() { answers "$1" || ! kill -0 "$(cat "$data/$1/pid")" 2>/dev/null; }
gone() { ! runs "$1"; }

start() {
  local node
  need_java
  fetch_jars
  [ -f "$data/cluster" ] || format_storage
  remember_cluster
  for node in $(nodes); do
    if runs "$node"; then continue; fi
    if answers "$node"; then fail "port $(broker_port "$node") is taken by another program; choose another --port and --data"; fi
    nohup "${java[@]}" kafka.Kafka "$data/$node/server.properties" </dev/null >>"$data/$node/log" 2>&1 &
    echo $! >"$data/$node/pid"
  done
  for node in $(nodes); do
    await started_or_dead "$node" && runs "$node" || fail "broker $node does not come up: $(tail -n 3 "$data/$node/log")"
  done
  address
}

stop() {
  local node
  remember_cluster
  for node in $(nodes); do
    if runs "$node"; then kill "$(cat "$data/$node/pid")"; fi
  done
  for node in $(nodes); do
    if await gone "$node" "$grace"; then continue; fi
    echo "run.sh: broker $node did not stop within $grace s, as without the others it may not; killing it" >&2
    kill -9 "$(cat "$data/$node/pid")"
    await gone "$node" || fail "broker $node cannot be killed; see process $(cat "$data/$node/pid")"
  done
}

status() {
  local node all=0
  remember_cluster
  for node in $(nodes); do
    if runs "$node"; then echo "broker $node runs on 127.0.0.1:$(broker_port "$node"), pid $(cat "$data/$node/pid")"; else
      echo "broker $node does not run"
      all=1
    fi
  done
  return $all
}

read_arguments "$@"
case $command in
  start | stop | status) "$command" ;;
  address) remember_cluster && address ;;
  -h | --help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
