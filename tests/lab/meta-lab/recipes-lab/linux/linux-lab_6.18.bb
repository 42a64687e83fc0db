SUMMARY = "Debian's Linux source, configured small for QEMU's arm64 virt machine"
DESCRIPTION = "Stands in for linux-yocto where its git repositories are out of reach. \
Fragments that a product adds through SRC_URI (*.cfg) are merged on top, and every symbol they set is checked in the result."
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://COPYING;md5=6bc538ed5bd9a7fc9398086aedcd7e46"
SECTION = "kernel"
inherit kernel

LINUX_VERSION = "6.18.15"
PV = "${LINUX_VERSION}"
SRC_URI = "${DEBIAN_ARCHIVE}/pool/main/l/linux/linux_${LINUX_VERSION}.orig.tar.xz;subdir=linux-${LINUX_VERSION};striplevel=1 \
    file://virt.cfg"
SRC_URI[sha256sum] = "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"
S = "${UNPACKDIR}/linux-${LINUX_VERSION}"
COMPATIBLE_MACHINE = "^qemuarm64$"
KERNEL_EXTRA_ARGS += "LOADADDR=0"
# The fragments that the product sets, from the very file that its own kernels use.
require recipes-kernel/linux/gin-edge-kernel.inc

def lab_fragments(d):
    return ' '.join(f for f in bb.fetch2.Fetch(d.getVar('SRC_URI').split(), d).localpaths() if f.endswith('.cfg'))
LAB_FRAGMENTS = "${@lab_fragments(d)}"

do_configure() {
    oe_runmake -C ${S} O=${B} allnoconfig
    ${S}/scripts/kconfig/merge_config.sh -m -O ${B} ${B}/.config ${LAB_FRAGMENTS}
    oe_runmake -C ${S} O=${B} olddefconfig
    # A symbol that a fragment asks for and that did not survive is an error here, not at run time.
    # The last fragment to set a symbol has the say, as in the merge; built in satisfies a module.
    lost=$(cat ${LAB_FRAGMENTS} | awk -F= -v config=${B}/.config '
        /^CONFIG_[A-Z0-9_]+=/ { want[$1] = $2 }
        END {
            while ((getline line < config) > 0)
                if (split(line, set, "=") > 1) have[set[1]] = set[2]
            for (symbol in want) {
                got = symbol in have ? have[symbol] : "n"
                if (got != want[symbol] && !(want[symbol] == "m" && got == "y"))
                    print symbol "=" want[symbol] " (is " got ")"
            }
        }' | sort)
    [ -z "$lost" ] || bbfatal "asked for by a fragment, not in the final configuration: $lost"
}
