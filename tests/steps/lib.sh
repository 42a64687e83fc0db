# shellcheck shell=sh
# Sourced by scripts/test: what steps need, and how they run Go's tests.
# shellcheck disable=SC2034,SC2154,SC2164 # variables of scripts/test, which has set -e

need() { # TOOL-OR-FILE PACKAGE...: install the packages unless the tool is there
    case $1 in
    /*) [ ! -e "$1" ] || return 0 ;;
    *) ! command -v "$1" > /dev/null 2>&1 || return 0 ;;
    esac
    tool=$1
    shift
    add_packages "$tool" "$@"
    case $tool in
    /*) [ -e "$tool" ] ;;
    *) command -v "$tool" > /dev/null 2>&1 ;;
    esac || die "$tool is still missing after apt-get install $*"
}

add_packages() { # WHAT-IS-MISSING PACKAGE...
    missing=$1
    shift
    command -v apt-get > /dev/null 2>&1 || die "$missing is missing: install it (on Debian: $*)"
    [ "$(id -u)" = 0 ] || die "$missing is missing; as root: apt-get update && apt-get install --no-install-recommends $*"
    echo "installing $*"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" > /dev/null
}

need_go() {
    need git git
    need /etc/ssl/certs/ca-certificates.crt ca-certificates
    need go golang-go
    [ -f "$service/go.mod" ] || die "$service/go.mod: does not exist"
    . "$top/scripts/lib-go.sh"
    use_go "$service/go.mod"
}

need_python() { # sets $python to one that has the tools of tests/checks/requirements.txt
    need python3 python3
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 is $(python3 --version); 3.11 or newer is needed"
    id=$({ python3 --version; cat "$checks/requirements.txt"; } | sha256sum | cut -c1-16)
    venv=$cache/venv-$id
    python=$venv/bin/python
    if [ ! -e "$venv/complete" ]; then
        python3 -c 'import ensurepip' 2> /dev/null || add_packages "Python's module venv" python3-venv
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install -q --disable-pip-version-check --no-deps -r "$checks/requirements.txt"
        "$venv/bin/pip" check --disable-pip-version-check
        : > "$venv/complete"
    fi
    # The checks stand in the checkout: leave no bytecode beside them.
    export PYTHONDONTWRITEBYTECODE=1
}

in_modules() { # COMMAND...: in the folder of each Go module; all of them, then fail if one did
    status=0
    for module in "$service" "$suite" "$top"/examples/*/src; do
        if [ ! -f "$module/go.mod" ]; then
            echo "$module/go.mod: does not exist"
            status=1
        elif ! (cd "$module" && "$@"); then
            echo "$module: failed: $*"
            status=1
        fi
    done
    return $status
}

# Runs go test -v with these arguments. A run in which no test ran is a failure,
# and tests that skipped themselves are named.
go_test() {
    rm -f "$STEP_LOG.go" "$STEP_LOG.rc"
    { go test -v "$@" 2>&1 || echo $? > "$STEP_LOG.rc"; } | tee "$STEP_LOG.go"
    # A skip's reason is the log line above it.
    awk '/^ *[a-zA-Z0-9_]+\.go:[0-9]+: / { reason = $0; sub(/^ *[^ ]+ /, "", reason) }
        /^ *--- SKIP: / { print $3 ": " reason; reason = "" }' "$STEP_LOG.go" >> "$STEP_LOG.skipped"
    ran=$(grep -c '^ *--- PASS: ' "$STEP_LOG.go" || :)
    [ ! -e "$STEP_LOG.rc" ] || { grep '^ *--- FAIL: ' "$STEP_LOG.go" || :; echo "go test failed"; return 1; }
    [ "$ran" -gt 0 ] || { echo "no test ran"; return 1; }
    echo "$ran tests passed, $(grep -c '^ *--- SKIP: ' "$STEP_LOG.go" || :) skipped"
}

# What an earlier step of this run left undone makes a later one pointless.
need_step() {
    case $(cat "$LOGS/$1.status" 2> /dev/null) in
    failed) skip "$1 failed" ;;
    skipped) skip "$1 was skipped" ;;
    esac
}

# The boards of tests/boards.tsv. Without a column: all; else those that have it.
boards() { # [qemu|lab]
    awk -F'\t' -v column="$(case ${1-} in qemu) echo 7 ;; lab) echo 8 ;; *) echo 1 ;; esac)" \
        '!/^#/ && $column != "-" { print $1 }' "$suite/boards.tsv"
}
composition_for() { awk -F'\t' -v board="$1" '$1 == board { print $2 }' "$suite/boards.tsv"; } # BOARD
# Those whose image is a card: it has a boot partition.
cards() { # [qemu|lab]
    boards "$@" | while read -r board; do
        awk -F'\t' -v board="$board" '$1 == board && $5 != "-" { print $1 }' "$suite/boards.tsv"
    done
}
