# shellcheck shell=sh
# Sourced by scripts/test: the steps that test a running service: a process, the quick VM, a booted image.
# shellcheck disable=SC2034,SC2153,SC2154,SC2164 # variables of scripts/test, which has set -e

step_unit() {
    [ -x "$top/scripts/try" ] || die "$top/scripts/try: does not exist"
    "$top/scripts/try" --analyze
}

blackbox() { # TARGET MINUTES [FLAG...]
    need_go
    [ -d "$suite/blackbox" ] || die "$suite/blackbox: does not exist"
    cd "$suite"
    target=$1 minutes=$2
    shift 2
    go_test -count=1 -timeout "${minutes}m" ./blackbox "-target=$target" "$@"
}

step_blackbox_process() { blackbox process 9; }
step_blackbox_try() { blackbox try 24; }

# --- a product ------------------------------------------------------------------

# What a product chooses, for the suite's flags: see scripts/lib-product.sh.
product_blackbox() { # DIR TARGET MINUTES
    . "$top/scripts/lib-product.sh"
    read_product "$1"
    blackbox "$2" "$3" -product "$product" -unit "${GIN_EDGE_UNIT:-gin-edged.service}" \
        -data "${GIN_EDGE_DATA_DIR:-/data}" -uid "${GIN_EDGE_UID:-660}"
}

product_go() { # DIR
    need_go
    cd "$1/src"
    go vet -tags nomsgpack ./...
    go mod tidy -diff
    go_test -count=1 -timeout 9m -tags nomsgpack ./...
}

step_product_go() { product_go "$PRODUCT"; }
step_product_process() { product_blackbox "$PRODUCT" process 9; }
step_product_try() { product_blackbox "$PRODUCT" try 24; }
step_example() { product_go "$top/examples/acme-gateway" && product_blackbox "$top/examples/acme-gateway" process 9; }

# kas is the lab's: the step lab-product.
step_your_service() {
    need_go
    need python3 python3
    need curl curl
    "$top/scripts/new-product" "$STEP_DIR/acme-gateway" --name acme-gateway
    (product_go "$STEP_DIR/acme-gateway")
    "$suite/build/your-service" --skip '^\$ kas build '
}

# --- attacks and faults ---------------------------------------------------------

hostile() { # TARGET MINUTES [FLAG...]
    need_go
    cd "$suite"
    target=$1 minutes=$2
    shift 2
    go_test -count=1 -timeout "${minutes}m" ./hostile "-target=$target" "$@"
}

step_hostile_process() {
    # Its own network, with addresses for many sources.
    need ip iproute2
    hostile process 14
}
step_hostile_try() { hostile try 39; }

step_faults_try() {
    need_go
    cd "$suite"
    go_test -count=1 -timeout 24m ./faults -target=try
}

step_image_boot() {
    need_image gin-edge-image-test
    blackbox image 24
}

step_testimage() {
    need_image gin-edge-image-testimage
    need ssh openssh-client
    # scripts/boot prefers the other images: show it a folder that has this one alone.
    ln -s "$images/Image" "$images/gin-edge-image-testimage-qemuarm64.rootfs.wic" "$STEP_DIR/"
    "$top/scripts/boot" --deploy "$STEP_DIR" --dir "$STEP_DIR/vm" --ssh > "$STEP_DIR/boot" &
    guest=$!
    trap 'kill "$guest" 2> /dev/null || :' EXIT
    until grep '^first 200' "$STEP_DIR/boot"; do
        kill -0 "$guest" 2> /dev/null || { echo "the guest did not come up"; return 1; }
        sleep 1
    done
    # 10.0.2.2 is this machine, as the guest sees it.
    in_lab env TEST_TARGET=simpleremote TEST_SERVER_IP=10.0.2.2 \
        TEST_TARGET_IP="$(sed -n 's/^ssh: //p' "$STEP_DIR/boot")" \
        kas shell kas/qemu-arm64.yml:tests/lab/lab.yml -c 'bitbake -c testimage gin-edge-image-testimage'
    # A test that was skipped asserts nothing, and testimage counts it as well.
    if grep -q '^RESULTS - gin_edged.*: SKIPPED' "$STEP_LOG"; then
        echo "a case of gin_edged was skipped"
        return 1
    fi
    ran=$(grep -c '^RESULTS - gin_edged.*: PASSED' "$STEP_LOG" || :)
    [ "$ran" -gt 0 ] || { echo "no case of gin_edged ran"; return 1; }
    kill "$guest"
    wait "$guest" || { echo "the guest was not powered down cleanly"; return 1; }
    echo "$ran cases of gin_edged passed"
}

step_image_production() {
    need_image gin-edge-image
    # scripts/boot prefers the test image: show it a folder that has none.
    ln -s "$images/Image" "$images/gin-edge-image-qemuarm64.rootfs.wic" "$STEP_DIR/"
    blackbox image 14 -production -boot-args "--deploy $STEP_DIR"
}

step_sd_boot() {
    need mcopy mtools
    for board in $(cards qemu); do
        need_image gin-edge-image-test "$board"
        (blackbox image 39 -boot-args "--machine $board")
    done
}
