# shellcheck shell=sh
# Sourced by scripts/test: the step kernel-config, and what it merges configurations with. Sources and tools are kept
# below $cache/kernel.
# shellcheck disable=SC2154 # cache, checks, lab and no_layers are scripts/test's

# The release pins another commit of the tools, which no mirror had.
kern_tools=fe67c98d2e9b74af44d0c4b660fa18e3a95e7edd
# Kernels of Debian's archive: version, sha256 of linux_VERSION.orig.tar.xz.
kernel_sources='
6.1.176 9aad4025973feea3f0d978e82ab7db97d8d5ce3f59fcc6b1f316153d66e3a504
6.12.107 efc76d3c78a5d65f42724118c437d11db1c9f6309a5f024ee9a8b1978fdc6919
6.18.15 fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca
'

kernel_tree() { # VERSION: sets $tree to what Kconfig needs of that kernel's source
    tree=$cache/kernel/linux-$1
    [ ! -e "$tree/complete" ] || return 0
    sum=$(printf '%s' "$kernel_sources" | sed -n "s/^$1 //p")
    [ -n "$sum" ] || die "tests/steps/kernel.sh: kernel_sources has no line for $1"
    name=linux_$1.orig.tar.xz
    tarball=$lab/downloads/$name
    if [ ! -f "$tarball" ]; then
        tarball=$cache/kernel/$name
        mkdir -p "$cache/kernel"
        if [ ! -f "$tarball" ]; then
            curl -sSf --retry 3 -o "$tarball.new" "$(lab_value DEBIAN_ARCHIVE)/pool/main/l/linux/$name" || return 1
            mv "$tarball.new" "$tarball"
        fi
    fi
    printf '%s  %s\n' "$sum" "$tarball" | sha256sum -c --quiet || die "$tarball: another checksum than $sum: remove it"
    rm -rf "$tree"
    mkdir -p "$tree"
    tar -C "$tree" --strip-components=1 -xJf "$tarball" --wildcards --no-anchored 'Kconfig*' 'Kbuild*' Makefile '*/scripts' '*/configs' ||
        die "$tarball cannot be unpacked"
    : > "$tree/complete"
}

mirror() { # OWNER+NAME: sets $mirror to the lab's copy of it
    mirror=$lab/mirrors/$1
    [ -d "$mirror" ] || skip "the lab has no mirror of $(echo "$1" | tr + /): give tests/lab/prepare one, $1"
}

kernel_tools() { # sets $tools to the folder of spp, scc and merge_config.sh
    mirror avnet-embedded+yocto-kernel-tools
    tools=$cache/kernel/tools-$kern_tools
    [ ! -e "$tools/complete" ] || return 0
    rm -rf "$tools"
    mkdir -p "$tools/source"
    git --git-dir="$mirror" archive $kern_tools | tar -C "$tools/source" -x
    make -s -C "$tools/source" DESTDIR="$tools" install > /dev/null 2>&1
    # A debugging aid of that commit: a file of a fixed name, in the way of the next user of the machine.
    sed -i '/\/tmp\/debug\.txt/d' "$tools/scc-cmds/kconf.cmd"
    : > "$tools/complete"
}

kernel_cache() { # COMMIT: sets $metadata to the kernel cache at that commit
    mirror avnet-embedded+yocto-kernel-cache
    metadata=$cache/kernel/cache-$1
    [ ! -e "$metadata/complete" ] || return 0
    git --git-dir="$mirror" cat-file -e "$1^{commit}" 2> /dev/null || return 1
    rm -rf "$metadata"
    mkdir -p "$metadata"
    git --git-dir="$mirror" archive "$1" | tar -C "$metadata" -x || die "$mirror: $1 cannot be unpacked"
    : > "$metadata/complete"
}

# What linux-raspberrypi's bcm2711_defconfig and bcm2712_defconfig have otherwise than the arm64 defconfig of the
# kernel's own tree, as far as it touches our fragments. They are in another tree than those above.
raspberrypi_differences='
IPV6=m NF_CONNTRACK=m NETFILTER_XT_MATCH_CONNTRACK=m NETFILTER_XT_MATCH_LIMIT=m NETFILTER_XT_MATCH_HASHLIMIT=m
IP_NF_IPTABLES=m IP_NF_FILTER=m IP6_NF_IPTABLES=m IP6_NF_FILTER=m OVERLAY_FS=m SQUASHFS=m NFS_FS=y PROFILING=y
KPROBES=y GENERIC_IRQ_DEBUGFS=y KGDB=y KGDB_KDB=y KDB_KEYBOARD=y LATENCYTOP=y DETECT_HUNG_TASK=y FUNCTION_PROFILER=y
STACK_TRACER=y SCHED_TRACER=y BLK_DEV_IO_TRACE=y UPROBE_EVENTS=n STRICT_DEVMEM=n MAGIC_SYSRQ_DEFAULT_ENABLE=0x1f6
'
raspberrypi_defconfig() { # TREE FILE
    cp "$1/arch/arm64/configs/defconfig" "$2"
    for setting in $raspberrypi_differences; do
        case $setting in
        *=n) echo "# CONFIG_${setting%=n} is not set" ;;
        *) echo "CONFIG_$setting" ;;
        esac
    done >> "$2"
}

# kernel_env FILE VARIABLE: its value in what bitbake -e printed.
kernel_env() { sed -n "s/^\(export \)\{0,1\}$2=\"\(.*\)\"\$/\2/p" "$1"; }

# merge NAME TREE ENV ARGUMENT...: merges and judges one configuration; notes a failure in $status.
merge() {
    name=$1 tree=$2 env=$3
    shift 3
    echo "== $name"
    case $(kernel_env "$env" ARCH):$(uname -m) in
    arm64:aarch64 | x86:x86_64) cross= ;;
    arm64:*) cross=aarch64-linux-gnu- package=gcc-aarch64-linux-gnu ;;
    x86:*) cross=x86_64-linux-gnu- package=gcc-x86-64-linux-gnu ;;
    *) die "$env: no compiler known for ARCH=$(kernel_env "$env" ARCH)" ;;
    esac
    # What Kconfig asks of a compiler decides about symbols.
    [ -z "$cross" ] || need "${cross}gcc" "$package"
    "$checks/kernel-config" --env "$env" --source "$tree" --work "$STEP_DIR/$name" --cross "$cross" "$@" || status=1
    count=$((count + 1))
}

kernel_configs() {
    kernel_tools
    kernel_tree 6.18.15 || { echo "Linux 6.18.15 could not be had from Debian's archive"; return 1; }
    linux=$tree status=0 count=0
    release_build=$(lab_value KAS_WORK_DIR)/build-release
    # qemux86-64 is no board of ours; products have its kernel.
    for machine in $(boards) qemux86-64; do
        composition=$(composition_for "$machine")
        : "${composition:=kas/qemu-arm64.yml}"
        have_layers "$composition" || { echo "$machine: $no_layers" >> "$STEP_LOG.skipped"; continue; }
        env=$STEP_DIR/$machine.env
        in_lab env KAS_BUILD_DIR="$release_build" KAS_MACHINE="$machine" \
            kas shell "$composition" -c 'bitbake -e virtual/kernel' > "$env" || { tail -n 20 "$env"; return 1; }
        commit=$(kernel_env "$env" SRCREV_meta)
        case $machine in
        raspberrypi*)
            echo "$machine: with the arm64 defconfig of Linux 6.18.15 and the values in tests/steps/kernel.sh, not the board's own tree" >> "$STEP_LOG.skipped"
            raspberrypi_defconfig "$linux" "$STEP_DIR/defconfig"
            set -- --defconfig "$STEP_DIR/defconfig"
            # Of the cache these kernels take next to nothing.
            kernel_cache "$commit" || kernel_cache "$release_commit" ;;
        *)
            set --
            release_commit=$commit
            kernel_cache "$commit" || skip "the mirror of avnet-embedded/yocto-kernel-cache lacks $commit, which linux-yocto names" ;;
        esac
        merge "$machine" "$linux" "$env" --release --cache "$metadata" --tools "$tools" "$@"
    done
    [ "${GIN_EDGE_KERNELS-}" != all ] || other_kernels
    [ $status = 0 ] || { echo "a configuration lacks what the fragments ask for"; return 1; }
    echo "$count configurations have what the fragments ask for"
}

# As a product has them: the fragments of meta-gin-edge alone, with modules, on kernels that it may use.
other_kernels() {
    env=$STEP_DIR/qemuarm64.env
    fragments=$(kernel_env "$env" GIN_EDGE_KERNEL_FRAGMENTS | tr -s ' ' '\n' | grep -v '^gin-edge-image' | tr '\n' ' ')
    set -- --set GIN_EDGE_KERNEL_FRAGMENTS="$fragments" --set GIN_EDGE_KERNEL_BUILTIN=
    for version in 6.1.176 6.12.107; do
        if kernel_tree $version; then
            merge "linux-$version" "$tree" "$env" --plain "$@"
        else
            echo "linux-$version: could not be had from Debian's archive" >> "$STEP_LOG.skipped"
        fi
    done
    # From 6.17 on PREEMPT_RT excludes the tables of legacy iptables: no firewall there, and the check has to say so.
    set -- --cache "$metadata" --tools "$tools" "$@" --set LINUX_KERNEL_TYPE=preempt-rt
    echo "== preempt-rt with the firewall, which must fail"
    failed=$status
    merge preempt-rt-firewall "$linux" "$env" "$@" > "$STEP_DIR/rt"
    grep 'NETFILTER_XTABLES_LEGACY=y asked for, n got (it depends on .*!PREEMPT_RT' "$STEP_DIR/rt" || failed=1
    status=$failed
    merge preempt-rt "$linux" "$env" "$@" \
        --set GIN_EDGE_KERNEL_FRAGMENTS="$(printf '%s' "$fragments" | sed 's/gin-edge-firewall[-a-z0-9]*//g')"
    merge tiny "$linux" "$env" "$@" --set LINUX_KERNEL_TYPE=tiny --set KCONFIG_MODE=--allnoconfig
}
