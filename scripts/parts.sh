# Named parts of a long run, and the seconds of each. Sourced by scripts/test and .ci/run, not run.
# shellcheck shell=bash
#
#   part NAME COMMAND...     runs it now, with its output as it comes
#   part_once NAME PATH... -- COMMAND...   runs it unless it passed before with these files as they are
#   beside NAME COMMAND...   puts it into a queue
#   run_queue                runs what is queued, two at a time; the output of each comes when it ends
#   companion FILE COMMAND...   starts what goes on while parts use it, waits until it has written FILE (lines NAME=VALUE), and exports these
#   end_companion            ends it
#   parts_table              prints the table of all that ran, as Markdown
#   parts_into FILE          writes that table between the markers of a file
#
# A part that fails leaves a line in the table and makes `failed` 1; the others go on. TOL_PARTS names a file to which the lines are added,
# so that a script and the one that called it share a table.

logs=$(mktemp -d)
parts=${TOL_PARTS:-$logs/parts}
export TOL_PARTS=$parts
touch "$parts"
failed=0
# Process group of each part that runs beside another, and its name.
declare -A running=()
queue=()
companion=

end_parts() {
    local group
    for group in "${!running[@]}" $companion; do kill -TERM -- "-$group" 2> /dev/null || true; done
    # What they started must be stopped before this ends.
    wait
    rm -rf "$logs"
}
trap end_parts EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# timed FILE COMMAND...: runs it, and writes the seconds that passed and those of the processor to FILE.
timed() {
    local file=$1 code=0 TIMEFORMAT='%R %U %S'
    shift
    { time "$@" 2>&3 || code=$?; } 3>&2 2> "$file"
    return "$code"
}

# note RESULT FILE NAME: adds a line to the table.
note() {
    local passed user system
    read -r passed user system < "$2" || true
    printf '%s\t%s\t%s\t%s\n' "$1" "${passed:-0}" "$(awk -v a="${user:-0}" -v b="${system:-0}" 'BEGIN { print a + b }')" "$3" >> "$parts"
    [ "$1" = ok ] || failed=1
}

part() {
    local name=$1 result=ok
    shift
    say ""
    say "== $name"
    timed "$logs/time" "$@" || result=FAILED
    note "$result" "$logs/time" "$name"
    [ "$result" = ok ]
}

part_once() {
    local name=$1 paths=() mark
    shift
    while [ "$1" != -- ]; do
        paths+=("$1")
        shift
    done
    shift
    mark=$cache/passed/$(git -C "$root" ls-files -z --cached --others --exclude-standard -- "${paths[@]}" | (cd "$root" && xargs -0 -r cksum) | cksum | cut -d ' ' -f 1)
    [ ! -f "$mark" ] || return 0
    part "$name" "$@" || return 1
    mkdir -p "$cache/passed"
    touch "$mark"
}

beside() {
    # A word of its own for each argument, which may hold spaces.
    queue+=("$(printf '%q ' "$@")")
}

# start_queued LINE: starts it in a process group of its own, which can be stopped as a whole.
start_queued() {
    local words
    eval "words=($1)"
    set -m
    timed "$logs/${#parts_started[@]}.time" "${words[@]:1}" > "$logs/${#parts_started[@]}.out" 2>&1 < /dev/null &
    set +m
    running[$!]=${#parts_started[@]}
    parts_started+=("${words[0]}")
    say "-- ${words[0]} begins"
}

run_queue() {
    local parts_started=() next=0 pid number result
    while [ "$next" -lt "${#queue[@]}" ] || [ "${#running[@]}" -gt 0 ]; do
        while [ "$next" -lt "${#queue[@]}" ] && [ "${#running[@]}" -lt 2 ]; do
            start_queued "${queue[next]}"
            next=$((next + 1))
        done
        result=ok
        wait -n -p pid || result=FAILED
        number=${running[$pid]}
        unset "running[$pid]"
        say ""
        say "== ${parts_started[number]}"
        cat "$logs/$number.out" >&2
        note "$result" "$logs/$number.time" "${parts_started[number]}"
    done
    queue=()
}

companion() {
    local file=$1 name value
    shift
    set -m
    "$@" > "$logs/companion.out" 2>&1 < /dev/null &
    companion=$!
    set +m
    while [ ! -f "$file" ]; do
        if ! kill -0 "$companion" 2> /dev/null; then
            cat "$logs/companion.out" >&2
            return 1
        fi
        sleep 0.1
    done
    while IFS='=' read -r name value; do export "$name=$value"; done < "$file"
}

end_companion() {
    kill -TERM -- "-$companion" 2> /dev/null || true
    wait "$companion" || true
    companion=
}

parts_table() {
    echo "| part | s | CPU s |"
    echo "|---|---|---|"
    awk -F '\t' '{ printf "| %s%s | %.0f | %.0f |\n", $4, $1 == "ok" ? "" : ": FAILED", $2, $3 }' "$parts"
}

parts_into() {
    parts_table > "$logs/table"
    sed -i -e '/<!-- parts: begin/,/<!-- parts: end/{/<!-- parts: /!d}' -e "/<!-- parts: begin/r $logs/table" "$1"
}
