# shellcheck shell=sh
# Sourced: what this machine must have, as packages of Debian; and what it is. The caller has die() and say().

host_arch() { # as Debian names it
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) echo unsupported ;;
    esac
}

wanted_packages=
# Debian keeps some tools for root alone in PATH.
PATH=$PATH:/usr/sbin:/sbin

want() { # TOOL-OR-FILE PACKAGE: note the package unless the tool is there
    case $1 in
    /*) [ ! -e "$1" ] || return 0 ;;
    *) ! command -v "$1" >/dev/null 2>&1 || return 0 ;;
    esac
    wanted_packages="$wanted_packages $2"
}

want_qemu() { # ARCH
    case $1 in
    arm64) want qemu-system-aarch64 qemu-system-arm ;;
    amd64) want qemu-system-x86_64 qemu-system-x86 ;;
    esac
}

install_wanted() { # what was noted: installs it as root, else names the command
    [ -n "$wanted_packages" ] || return 0
    command -v apt-get >/dev/null 2>&1 ||
        die "missing, by the names of their Debian packages:$wanted_packages"
    [ "$(id -u)" = 0 ] || die "missing programs; as root:
  apt-get update && apt-get install --no-install-recommends$wanted_packages"
    say "installing$wanted_packages"
    apt-get -qq update
    # shellcheck disable=SC2086 # one word each
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $wanted_packages >/dev/null
    wanted_packages=
}

pack() { # FOLDER: as a cpio archive of root's, on standard output
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0)
}
