#!/usr/bin/env bash
# A local Apache Kafka without Docker, from Maven artifacts: up | down | crash | status | fetch.
#
#   KAFKA_DIR              data, configuration and log of this broker     (default: run/kafka under the cache folder)
#   KAFKA_PORT             its port                                       (default: 19092)
#   KAFKA_JAVA             Java's options              (default: a quick start for tests; "-Xmx512m" lets Java compile fully, for measurements)
#   KAFKA_CONTROLLER_PORT  the port of its controller                     (default: KAFKA_PORT + 1)
#
# up     starts it and waits until it takes requests; an existing KAFKA_DIR is continued with its data
# down   stops it in order       crash  kills it at once, as a power cut would; `up` starts it again
# status says whether it runs    fetch  only downloads the artifacts
#
# Needs java 17 or newer, and mvn for the first start. Exit code 3: java or the artifacts are missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/kafka
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tol
libs=$cache/kafka-$version
dir=${KAFKA_DIR:-$cache/run/kafka}
port=${KAFKA_PORT:-19092}
[ "$port" != 0 ] || port=19092
controller_port=${KAFKA_CONTROLLER_PORT:-$((port + 1))}

missing() { echo "kafka.sh: $*" >&2; exit 3; }

fetch() {
    [ ! -f "$libs/.complete" ] || return 0
    command -v mvn > /dev/null || missing "mvn is not installed and $libs is empty; install Maven for the first start"
    echo "fetching Apache Kafka $version ..." >&2
    mkdir -p "$cache"
    # Into a folder of its own and then renamed: two test runs may come here at once.
    local part
    part=$(mktemp -d "$cache/kafka-$version.XXXXXX")
    if ! mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$part" >&2; then
        rm -rf "$part"
        missing "Maven could not fetch Apache Kafka $version"
    fi
    touch "$part/.complete"
    if [ -f "$libs/.complete" ]; then rm -rf "$part"; else rm -rf "$libs"; mv -T "$part" "$libs" || rm -rf "$part"; fi
}

# The process must be this folder's broker: after a reboot the number in the file may belong to anybody.
alive() { [ -f "$dir/pid" ] && ps -ww -o args= -p "$(cat "$dir/pid")" 2> /dev/null | grep -qF "$dir/server.properties"; }

up() {
    if alive; then echo "running on 127.0.0.1:$port, process $(cat "$dir/pid")"; return 0; fi
    command -v java > /dev/null || missing "java is not installed"
    fetch
    mkdir -p "$dir"
    sed -e "s#@DIR@#$dir#" -e "s#@PORT@#$port#" -e "s#@CONTROLLER_PORT@#$controller_port#" "$here/server.properties" > "$dir/server.properties"
    local options
    read -ra options <<< "${KAFKA_JAVA:--Xms64m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:ActiveProcessorCount=2}"
    local run=(java "${options[@]}" "-Dlog4j2.configurationFile=$here/log4j2.xml" -cp "$libs/*")
    if [ ! -f "$dir/data/meta.properties" ]; then
        # A cluster id is 16 bytes in URL-safe base64 without padding; made here, it saves starting Java once more.
        local id
        id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=\n')
        "${run[@]}" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" > "$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 1; }
    fi
    : > "$dir/broker.log"
    nohup "${run[@]}" kafka.Kafka "$dir/server.properties" >> "$dir/broker.log" 2>&1 < /dev/null &
    echo $! > "$dir/pid"
    for _ in $(seq 600); do
        alive || break
        if grep -q "Kafka Server started" "$dir/broker.log" && (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            echo "ready on 127.0.0.1:$port, process $(cat "$dir/pid")"
            return 0
        fi
        sleep 0.1
    done
    tail -n 30 "$dir/broker.log" >&2
    echo "kafka.sh: the broker did not start; its log is $dir/broker.log" >&2
    exit 1
}

stop() {
    if ! alive; then rm -f "$dir/pid"; echo "not running"; return 0; fi
    local pid
    pid=$(cat "$dir/pid")
    kill "-$1" "$pid"
    for _ in $(seq 300); do kill -0 "$pid" 2> /dev/null || { rm -f "$dir/pid"; echo "stopped"; return 0; }; sleep 0.1; done
    kill -KILL "$pid" 2> /dev/null || true
    rm -f "$dir/pid"
    echo "killed"
}

case ${1:-} in
    up) up ;;
    down) stop TERM ;;
    crash) stop KILL ;;
    status) if alive; then echo "running on 127.0.0.1:$port, process $(cat "$dir/pid")"; else echo "not running"; exit 1; fi ;;
    fetch) command -v java > /dev/null || missing "java is not installed"; fetch; echo "$libs" ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
