# shellcheck shell=sh
# Sourced by scripts/test: the steps that BitBake does in the lab, and those that look at what it made.
# shellcheck disable=SC2034,SC2154,SC2164 # variables of scripts/test, which has set -e

. "$top/scripts/lib-builder.sh"

# Sets $checkout to the folder that BitBake builds from, or skips the step.
need_lab() {
    [ -e "$lab/env" ] ||
        skip "the build lab is not prepared ($lab/env does not exist; see tests/lab/README.md)"
    id builder > /dev/null 2>&1 || skip "the user builder does not exist (tests/lab/prepare makes it)"
    [ "$(id -u)" = 0 ] || [ "$(id -un)" = builder ] || skip "BitBake runs as the user builder: call scripts/test as root"
    as_builder true || die "cannot run commands as the user builder"
    checkout=$top
    # Layers may lie anywhere: what builder cannot read is built from a copy.
    builder_checkout "$top" "$lab/checkout"
    # One build at a time. BitBake's server holds this lock and stays a minute after its last client.
    lock=$(lab_value KAS_WORK_DIR)/build/bitbake.lock
    if [ -e "$lock" ]; then
        need flock util-linux
        flock -w 600 "$lock" true || die "another BitBake works in ${lock%/bitbake.lock}: wait for its end"
    fi
}

# Runs a command as builder in the checkout, in the environment that tests/lab/prepare made.
in_lab() {
    # shellcheck disable=SC2016 # for builder's shell
    as_builder sh -c '. "$1"; cd "$2"; shift 2; exec "$@"' in_lab "$lab/env" "$checkout" "$@"
}

lab_value() { # VARIABLE: its value in the lab's environment
    # shellcheck disable=SC2016 # for the inner shell
    sh -c '. "$1"; eval "printf %s \"\$$2\""' lab_value "$lab/env" "$1"
}

# Files directly in kas/ that include others; the rest are parts.
compositions() { (cd "$top" && grep -l '^  includes:' kas/*.yml); }

# Whether the layers of a composition can be had here.
have_layers() { # COMPOSITION
    case $(sed -n 's|.*- kas/machine/\(.*\)\.yml|\1|p' "$top/$1") in
    raspberrypi*) [ -d "$lab/mirrors/agherzan+meta-raspberrypi" ] || [ -d "$(lab_value KAS_WORK_DIR)/meta-raspberrypi" ] ;;
    esac
}
no_layers="the lab has no mirror of meta-raspberrypi: give prepare one, agherzan+meta-raspberrypi"

# Skips the step when a build from what the lab has would take hours: compilers, kernels.
need_results() { # COMPOSITION LIMIT [TARGET...]: at most so many results may be missing
    composition=$1 limit=$2 overlay=${overlay:-tests/lab/lab.yml}
    shift 2
    [ $# -gt 0 ] || set -- gin-edge-image gin-edge-image-test
    command="kas build $composition:$overlay"
    sstate=$(lab_value SSTATE_DIR)
    for recipe in gcc-cross-aarch64 glibc go-cross-; do
        [ -n "$(find "$sstate" -name "sstate:$recipe*populate_sysroot*" -print -quit)" ] ||
            skip "no finished build of $recipe in $sstate: a cold build takes hours; run $command once as builder"
    done
    in_lab kas shell "$composition:$overlay" -c "bitbake -n --setscene-only $*" > "$STEP_LOG.dry" 2>&1 ||
        { tail -n 30 "$STEP_LOG.dry"; exit 1; }
    missed=$(sed -n 's/.*Sstate summary:.* Missed \([0-9]*\) .*/\1/p' "$STEP_LOG.dry" | tail -n 1)
    [ "${missed:-0}" -le "$limit" ] ||
        skip "$missed results for $composition are missing in $sstate, so this would be a cold build of hours; run $command once as builder"
    # Few results, and half an hour: what is dry-run here would be compiled.
    in_lab kas shell "$composition:$overlay" -c 'bitbake -n virtual/kernel' > "$STEP_LOG.dry" 2>&1 ||
        { tail -n 30 "$STEP_LOG.dry"; exit 1; }
    if grep -q 'linux-[^:]*:do_compile)' "$STEP_LOG.dry"; then
        skip "no finished kernel of this state for $composition in the lab, half an hour and more; run $command once as builder"
    fi
}

# --- the steps ----------------------------------------------------------------

step_lab_parse() {
    need_lab
    release_build=$(lab_value KAS_WORK_DIR)/build-release
    [ -n "$(compositions)" ] || { echo "no composition in $top/kas"; return 1; }
    count=0
    for composition in $(compositions); do
        have_layers "$composition" || { echo "$composition: $no_layers" >> "$STEP_LOG.skipped"; continue; }
        echo "== $composition with the lab"
        in_lab kas shell "$composition:tests/lab/lab.yml" -c 'bitbake -p'
        # In a build folder of its own: nothing of the lab's configuration or state leaks in.
        echo "== $composition as released"
        # A dry run starts a process for each task, minutes in all: once. The others' graph is only computed.
        resolve=-g
        [ "$composition" != kas/qemu-arm64.yml ] || resolve=-n
        in_lab env KAS_BUILD_DIR="$release_build" kas shell "$composition" \
            -c "bitbake -R $checkout/tests/checks/release-dry-run.conf $resolve gin-edge-image"
        count=$((count + 1))
    done
    echo "$count of $(compositions | wc -l) compositions parse and resolve, with and without the lab"
}

step_kernel_config() {
    need_lab
    need python3 python3
    for tool in make flex bison curl; do need $tool $tool; done
    need gcc gcc libc6-dev
    kernel_configs
}

step_lab_build() {
    need_lab
    composition=kas/qemu-arm64.yml
    need_results $composition 50
    in_lab kas build "$composition:tests/lab/lab.yml"
    in_lab kas shell "$composition:tests/lab/lab.yml" -c 'bitbake gin-edge-image-test gin-edge-image-testimage'
    for image in gin-edge-image gin-edge-image-test gin-edge-image-testimage; do
        file=$(lab_value KAS_WORK_DIR)/build/tmp/deploy/images/qemuarm64/$image-qemuarm64.rootfs.wic
        [ -s "$file" ] || { echo "$file: the build left no such image"; return 1; }
    done
    echo "gin-edge-image, gin-edge-image-test and gin-edge-image-testimage built"
}

step_lab_boards() {
    need_step lab-build
    need_lab
    for board in $(cards lab); do
        composition=$(composition_for "$board")
        have_layers "$composition" || skip "$no_layers"
        need_results "$composition" 50
        in_lab kas shell "$composition:tests/lab/lab.yml" -c 'bitbake gin-edge-image gin-edge-image-test'
    done
    echo "both images built for: $(cards lab | tr '\n' ' ')"
}

step_sd_layout() {
    need_step lab-boards
    need_lab
    need python3 python3
    need mtype mtools
    for board in $(cards lab); do
        for image in gin-edge-image gin-edge-image-test; do
            need_image $image "$board"
            "$checks/sd-layout" --machine "$board" "$images/$image-$board.rootfs.wic"
        done
    done
}

step_lab_oem() {
    need_step lab-build
    need_lab
    oem_build=$(lab_value KAS_WORK_DIR)/build-oem
    export KAS_BUILD_DIR="$oem_build"
    need_results tests/lab/oem.yml 50 acme-image
    in_lab kas build tests/lab/oem.yml:tests/lab/lab.yml
    # What tests/lab/oem/meta-acme/conf/distro/acme.conf chooses.
    blackbox image 39 -unit acme-api.service -data /srv/state -uid 345 \
        -boot-args "--deploy $oem_build/tmp/deploy/images/qemuarm64 --image acme-image --guest-port 8080"
}

step_lab_example() {
    need_step lab-build
    need_lab
    example_build=$(lab_value KAS_WORK_DIR)/build-example
    export KAS_BUILD_DIR="$example_build"
    composition=examples/acme-gateway/kas/acme-gateway-qemu-arm64.yml
    need_results "$composition" 100 gin-edge-image-test
    in_lab kas build --target gin-edge-image-test "$composition:tests/lab/lab.yml"
    # What examples/acme-gateway/meta-acme-gateway/conf/distro/acme-gateway.conf chooses.
    blackbox image 39 -product "$top/examples/acme-gateway" \
        -boot-args "--deploy $example_build/tmp/deploy/images/qemuarm64 --image gin-edge-image-test --guest-port 8080"
}

# The third command of docs/your-service.md: a product outside the repository, which pins its last commit.
step_lab_product() {
    need_step lab-build
    need_lab
    need_go
    as_builder rm -rf "$lab/product"
    in_lab scripts/new-product "$lab/product" --name acme-gateway --url "file://$checkout"
    product_build=$(lab_value KAS_WORK_DIR)/build-product
    export KAS_BUILD_DIR="$product_build"
    # What the product does not have of its own.
    need_results kas/qemu-arm64.yml 70 gin-edge-image-test
    in_lab kas build --target gin-edge-image-test "$lab/product/kas/lab.yml"
    blackbox image 24 -product "$lab/product" -boot-args "--deploy $product_build/tmp/deploy/images/qemuarm64"
}

step_lab_binary() {
    need_step lab-build
    need_lab
    need python3 python3
    need readelf binutils
    # What the image holds, not what lies in some package folder. -t: the newest first.
    # shellcheck disable=SC2012 # names of BitBake's making
    rootfs=$(ls -td "$(lab_value KAS_WORK_DIR)"/build/tmp/work/*/gin-edge-image/*/rootfs 2> /dev/null | head -n 1)
    [ -n "$rootfs" ] || skip "no root file system of gin-edge-image in the lab: run the step lab-build"
    for command in usr/sbin/gin-edge-firewall usr/bin/gin-edged; do
        "$checks/binary" "$rootfs/$command"
    done
}

# Sets $images to the lab's folder of built images, or skips the step.
need_image() { # IMAGE [MACHINE]
    machine=${2:-qemuarm64} made_by=lab-build
    [ "$machine" = qemuarm64 ] || made_by="lab-boards"
    need_step $made_by
    need_lab
    unset KAS_BUILD_DIR
    KAS_WORK_DIR=$(lab_value KAS_WORK_DIR)
    export KAS_WORK_DIR
    images=$KAS_WORK_DIR/build/tmp/deploy/images/$machine
    [ -e "$images/$1-$machine.rootfs.wic" ] || skip "no $1 in $images: run the step $made_by"
}
