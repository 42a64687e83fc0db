# shellcheck shell=sh
# Sourced by scripts/build: what BitBake asks of this machine. Each check adds to $packages,
# $faults or $notes, so that everything that is missing is said in one go.
# shellcheck disable=SC2154 # top and work are scripts/build's

# The tests show other hosts: a folder that is read in place of / where a check reads a file.
host_root=${GIN_EDGE_HOST_ROOT:-}

# What Yocto's documentation of wrynose names for Debian and Ubuntu
# (documentation/tools/host_packages_scripts/ubuntu_essential.sh in yocto-docs), with
# python3-websockets for hash equivalence, and what kas and this project's files need besides.
documented="build-essential chrpath cpio debianutils diffstat file gawk gcc git iputils-ping libacl1
    libcrypt-dev locales python3 python3-git python3-jinja2 python3-pexpect python3-pip python3-subunit
    socat texinfo unzip wget xz-utils zstd python3-websockets python3-venv ca-certificates rpcsvc-proto"

# Command, package: HOSTTOOLS of openembedded-core's bitbake.conf, which fail the parse when
# they are missing, as far as a minimal Debian lacks them; make and perl's modules by sanity.bbclass.
tools='
ar binutils
bzip2 bzip2
chrpath chrpath
cpio cpio
diff diffutils
diffstat diffstat
file file
flock util-linux
g++ g++
gawk gawk
gcc gcc
git git
hostname hostname
make make
patch patch
perl perl
pzstd zstd
python3 python3
rpcgen rpcsvc-proto
unzip unzip
wget wget
which debianutils
xz xz-utils
zstd zstd
/usr/include/crypt.h libcrypt-dev
/usr/include/stdlib.h libc6-dev
/etc/ssl/certs/ca-certificates.crt ca-certificates
'

fault() { faults="$faults
  - $*"; }
note() { notes="$notes
  - $*"; }

have() { # COMMAND-OR-FILE
    case $1 in
    /*) [ -e "$host_root$1" ] ;;
    *) command -v "$1" > /dev/null 2>&1 ;;
    esac
}
os_release() { sed -n "s/^$1=//p" "$host_root/etc/os-release" 2> /dev/null | tr -d \"; }
sysctl_is() { # NAME VALUE
    [ "$(cat "$host_root/proc/sys/$(echo "$1" | tr . /)" 2> /dev/null)" = "$2" ]
}

check_packages() {
    absent=
    while read -r tool package; do
        [ -n "$tool" ] || continue
        have "$tool" || { absent="$absent $tool"; packages="$packages $package"; }
    done <<END
$tools
END
    if have python3; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
            fault "$(python3 --version) is too old: BitBake wants 3.9 or newer"
        for module in ctypes:python3 sqlite3:python3 xml.parsers.expat:python3 ensurepip:python3-venv; do
            python3 -c "import ${module%:*}" 2> /dev/null ||
                { absent="$absent python3:${module%:*}"; packages="$packages ${module#*:}"; }
        done
    fi
    [ -z "$absent" ] || fault "missing:$absent"
    # The rest of the documented list, which this build may do without.
    if have dpkg-query; then
        for package in $documented; do
            [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2> /dev/null | cut -c2)" = i ] || wanted="$wanted $package"
        done
    fi
}

check_locale() {
    # Debian's C library names it en_US.utf8.
    if have locale && locale -a 2> /dev/null | grep -qi '^en_US\.utf-\{0,1\}8$'; then return 0; fi
    lacks_locale=1
    fault "no locale en_US.UTF-8, which BitBake switches to"
}

apparmor_profile=/etc/apparmor.d/bitbake
# Any folder: people have more than one BitBake, and it is the program that is trusted.
print_apparmor_profile() {
    cat << 'END'
abi <abi/4.0>,
include <tunables/global>
profile bitbake /**/bitbake/bin/bitbake flags=(unconfined) {
  userns,
}
END
}

check_userns() {
    have python3 || return 0
    probe=$(mktemp -d)
    mkdir -p "$probe/bitbake/bin"
    cp "$top/scripts/lib_userns.py" "$probe/bitbake/bin/bitbake"
    chmod -R a+rX "$probe"
    chmod a+x "$probe/bitbake/bin/bitbake"
    status=0
    if [ "$(id -u)" = 0 ]; then    # who is not root, as the build will not be
        set -- setpriv --reuid=65534 --regid=65534 --clear-groups
    else
        set --
    fi
    (cd / && "$@" "$probe/bitbake/bin/bitbake") || status=$?
    rm -rf "$probe"
    case $status in
    0) ;;
    2) note "user namespaces are not available here: BitBake goes on, and its tasks keep the network" ;;
    *)
        if sysctl_is kernel.apparmor_restrict_unprivileged_userns 1; then
            lacks_profile=1
            fault "AppArmor keeps user namespaces from BitBake (kernel.apparmor_restrict_unprivileged_userns = 1)"
        else
            fault "user namespaces can be made and not used, and BitBake stops at that. In a container: run it with
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined. Else see sysctl user.max_user_namespaces
    and kernel.unprivileged_userns_clone"
        fi
        ;;
    esac
}

# The folder itself, or the nearest one above it that is there already.
nearest() {
    folder=$1
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    printf '%s\n' "$folder"
}

# GB. Yocto's documentation gives 40 for an image with a desktop, built with rm_work as here; what
# ours takes from nothing has not been measured. Below 20, not even the toolchain's build is sure to fit.
disk_wanted=40 disk_least=20

check_disk() {
    on=$(nearest "$work")
    free=$(df -Pk "$on" | awk 'NR == 2 { print int($4 / 1048576) }')
    if [ -d "$work/build/tmp" ]; then
        # What a build takes is there already. BitBake itself stops at 1 GB.
        [ "$free" -ge 10 ] || note "$free GB free on $on: a changed toolchain or kernel takes some 10 GB more (a guess)"
    elif [ "$free" -lt "$disk_least" ]; then
        fault "$free GB free on $on: a first build takes up to $disk_wanted GB, and does not begin with less than
    $disk_least. Name a folder on another disk with --work DIR"
    elif [ "$free" -lt "$disk_wanted" ]; then
        note "$free GB free on $on; Yocto's documentation asks for $disk_wanted GB with rm_work for a larger image than this
    one. BitBake stops before the disk is full (BB_DISKMON_DIRS)"
    fi
    inodes=$(df -Pi "$on" | awk 'NR == 2 { print $4 + 0 " " $2 + 0 }')
    # No total: a file system that makes them as it needs them.
    [ "${inodes#* }" -eq 0 ] || [ "${inodes% *}" -ge 1000000 ] ||
        note "${inodes% *} inodes free on $on: a build makes some hundred thousand files (a guess); BitBake stops at 100,000 free"
}

# A compiler of C++ takes up to about 2 GB (a rule of thumb, not measured); each job may be one.
check_memory() {
    memory=$(awk '/^(MemTotal|SwapTotal):/ { sum += $2 } END { print int(sum / 1048576 + 0.5) }' "$host_root/proc/meminfo")
    cpus=$(nproc)
    jobs=$((memory / 2))
    [ "$memory" -ge 4 ] || note "$memory GB of memory with swap: the compiler itself may not fit (a guess: from 4 GB)"
    if [ "$jobs" -lt "$cpus" ] && [ -z "${BB_NUMBER_THREADS-}${PARALLEL_MAKE-}" ]; then
        limited=1
    fi
    if [ -n "${limited-}" ]; then
        [ "$jobs" -ge 1 ] || jobs=1
        export BB_NUMBER_THREADS="$jobs" PARALLEL_MAKE="-j $jobs"
        note "$memory GB of memory with swap for $cpus processors: $jobs jobs at a time
    (BB_NUMBER_THREADS=$jobs PARALLEL_MAKE=\"-j $jobs\"; set both to have others)"
    fi
}

check_folders() {
    # By sanity.bbclass; autotools and Python's formatting would fail far later.
    for path in "$work" "$top"; do
        case $path in
        *[' +@%']* | *..*) fault "'$path': BitBake takes no folder with a space, +, @, % or .. in its path" ;;
        esac
        if printf %s "$path" | LC_ALL=C grep -q '[^ -~]'; then fault "'$path': BitBake takes no folder with other than ASCII in its path"; fi
    done
    case $work/ in "$top"/*) note "$work lies in the checkout: better name a folder outside of it with --work DIR" ;; esac
    if awk '$2 == "/tmp" && $4 ~ /(^|,)noexec(,|$)/ { found = 1 } END { exit !found }' /proc/mounts; then
        fault "/tmp is mounted noexec, which BitBake refuses: mount -o remount,exec /tmp"
    fi
}

check_system() {
    [ -n "$(os_release ID)" ] || return 0
    # SANITY_TESTED_DISTROS of meta-poky's poky.conf.
    case $(os_release ID)-$(os_release VERSION_ID) in
    debian-11 | debian-12 | debian-13 | ubuntu-22.04 | ubuntu-24.04 | ubuntu-25.* | ubuntu-26.04) ;;
    fedora-4[23] | centos-9 | centos-10 | opensuse-leap-1[56].* | almalinux-9.* | rocky-9.*) ;;
    *) note "$(os_release PRETTY_NAME) is none of the systems that Yocto tests wrynose on" ;;
    esac
}

check_host() {
    packages='' wanted='' faults='' notes='' lacks_locale='' lacks_profile=''
    check_system
    check_packages
    check_locale
    check_userns
    check_disk
    check_memory
    check_folders
}

# What a person without root types as root, or root's own next step: one command a line.
remedies() {
    if [ -n "$packages" ] && have apt-get; then
        # shellcheck disable=SC2046,SC2086 # one word each
        echo apt-get update "&&" apt-get install --no-install-recommends $(printf '%s\n' $packages $wanted | sort -u)
    elif [ -n "$packages" ]; then
        echo "# the packages of this system: https://docs.yoctoproject.org/ref-manual/system-requirements.html"
    fi
    if [ -n "$lacks_locale" ]; then echo "echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen && locale-gen    # package locales"; fi
    if [ -n "$lacks_profile" ]; then
        echo "cat > $apparmor_profile << 'END' && apparmor_parser -r $apparmor_profile"
        print_apparmor_profile
        echo END
        echo "# or, for every program and until the next boot: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    fi
}

# As root: does what remedies() prints, and makes the user. Debian and its like only.
install_host() {
    if [ -n "$packages$wanted" ] && have apt-get; then
        # shellcheck disable=SC2086 # one word each
        say "installing$(printf ' %s' $packages $wanted)"
        apt-get -qq update
        # shellcheck disable=SC2086 # one word each
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages $wanted > /dev/null
    fi
    if [ -n "$lacks_locale" ] && have locale-gen; then
        say "making the locale en_US.UTF-8"
        grep -q '^en_US.UTF-8' /etc/locale.gen 2> /dev/null || echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen
        locale-gen > /dev/null
    fi
    if ! id builder > /dev/null 2>&1; then
        say "making the user builder: BitBake refuses root"
        useradd -m -s /bin/bash builder
    fi
    if [ -n "$lacks_profile" ] && have apparmor_parser; then
        say "letting BitBake use user namespaces: $apparmor_profile"
        print_apparmor_profile > "$host_root$apparmor_profile"
        apparmor_parser -r "$host_root$apparmor_profile"
    fi
}
