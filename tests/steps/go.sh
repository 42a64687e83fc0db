# shellcheck shell=sh
# Sourced by scripts/test: the steps for the Go modules.
# shellcheck disable=SC2034,SC2154,SC2164 # variables of scripts/test, which has set -e

# The Go of openembedded-core wrynose.
release_go=1.26.5
staticcheck_version=v0.8.2
apidiff_version=v0.0.0-20261113113407-e3970619a1a4

step_go_format() {
    need_go
    "$checks/go-format" "$service" "$suite" "$top"/examples/*/src "$top/scripts/product"
}

step_go_vet() {
    need_go
    in_modules go vet -tags nomsgpack ./...
}

step_go_tidy() {
    need_go
    in_modules go mod tidy -diff
}

step_staticcheck() {
    need_go
    tool=$cache/bin/staticcheck-$staticcheck_version-$(go env GOVERSION)
    if [ ! -x "$tool" ]; then
        mkdir -p "$cache/bin"
        GOBIN=$cache/bin/new go install "honnef.co/go/tools/cmd/staticcheck@$staticcheck_version"
        mv "$cache/bin/new/staticcheck" "$tool"
    fi
    in_modules "$tool" -tags nomsgpack ./...
}

# Sets APIDIFF, which tests/checks/api-diff needs.
need_apidiff() {
    APIDIFF=$cache/bin/apidiff-$apidiff_version-$(go env GOVERSION)
    if [ ! -x "$APIDIFF" ]; then
        mkdir -p "$cache/bin"
        GOBIN=$cache/bin/new go install "golang.org/x/exp/cmd/apidiff@$apidiff_version"
        mv "$cache/bin/new/apidiff" "$APIDIFF"
    fi
    export APIDIFF
}

step_api_diff() {
    need_go
    need python3 python3
    need_apidiff
    rc=0
    "$checks/api-diff" --apidiff "$APIDIFF" > "$STEP_LOG.diff" || rc=$?
    cat "$STEP_LOG.diff"
    [ $rc -ne 77 ] || skip "$(cat "$STEP_LOG.diff")"
    return $rc
}

step_go_test() {
    need_go
    # The race detector needs cgo.
    need gcc gcc libc6-dev
    need /usr/include/stdlib.h libc6-dev
    # For gin-edge-firewall in network namespaces, which only root can make.
    [ "$(id -u)" != 0 ] || { need iptables iptables; need ip iproute2; }
    cd "$service"
    go_test -race -tags nomsgpack -count=1 -timeout 15m ./...
    # The black-box suite has steps of its own; what it stands on is tested here.
    cd "$suite"
    packages=$(go list ./... | grep -v '/blackbox$')
    # shellcheck disable=SC2086 # one word each
    go_test -count=1 -timeout 4m $packages
    for example in "$top"/examples/*/src; do
        cd "$example"
        go_test -race -tags nomsgpack -count=1 -timeout 4m ./...
    done
}

step_fuzz() {
    need_go
    cd "$service"
    # A count, not a time: at the end of a time, Go before 1.27 may report its own
    # cancellation as a failure (go.dev/issue/75804), on a loaded machine above all.
    executions=${GIN_EDGE_FUZZ_COUNT:-50000}
    count=0
    for package in $(go list -tags nomsgpack ./...); do
        for target in $(go test -tags nomsgpack -list '^Fuzz' "$package" | grep '^Fuzz' || :); do
            go test -tags nomsgpack -run '^$' -fuzz "^$target\$" -fuzztime "${executions}x" "$package"
            count=$((count + 1))
        done
    done
    [ $count -gt 0 ] || { echo "no fuzz target found in $service"; return 1; }
    echo "$count targets, $executions executions each"
}

step_go_release() {
    need_go
    cd "$service"
    have=$(GOTOOLCHAIN=go$release_go go env GOVERSION)
    [ "$have" = "go$release_go" ] || { echo "asked for go$release_go, got $have"; return 1; }
    GOTOOLCHAIN=go$release_go CGO_ENABLED=0 GOARCH=arm64 go build -tags nomsgpack -buildvcs=false -o /dev/null ./cmd/...
    echo "builds with $have"
}

step_binary() {
    need_go
    need python3 python3
    need readelf binutils
    build_commands "$service" arm64 "$STEP_DIR"
    status=0
    for command in "$service"/cmd/*; do
        command=${command##*/}
        "$checks/binary" "$STEP_DIR/$command" || status=1
        "$checks/linked" -C "$service" "./cmd/$command" || status=1
    done
    return $status
}
