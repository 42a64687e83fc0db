SUMMARY = "Debian's Linux source, configured small for the Raspberry Pi"
DESCRIPTION = "Stands in for linux-raspberrypi where its git repository is out of reach. \
Fragments that a product adds through SRC_URI (*.cfg) are merged on top; their symbols and its own are checked in the result."
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://COPYING;md5=6bc538ed5bd9a7fc9398086aedcd7e46"
SECTION = "kernel"
inherit kernel

LINUX_VERSION = "6.18.15"
PV = "${LINUX_VERSION}"
SRC_URI = "${DEBIAN_ARCHIVE}/pool/main/l/linux/linux_${LINUX_VERSION}.orig.tar.xz;subdir=linux-${LINUX_VERSION};striplevel=1 \
    ${LAB_CONFIG}"
SRC_URI[sha256sum] = "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"
LAB_CONFIG = "file://virt.cfg"
LAB_CONFIG:append:rpi = " file://raspberrypi.cfg"
S = "${UNPACKDIR}/linux-${LINUX_VERSION}"
COMPATIBLE_MACHINE = "^(raspberrypi3-64|raspberrypi4-64)$"
KERNEL_EXTRA_ARGS += "LOADADDR=0"
# The fragments that the product sets, from the very files that its own kernels use.
LAB_FROM = "recipes-kernel/linux/gin-edge-kernel.inc"
LAB_FROM:rpi = "dynamic-layers/raspberrypi/recipes-kernel/linux/gin-edge-kernel-raspberrypi.inc"
LAB_FROM_DISTRO = ""
LAB_FROM_DISTRO:rpi = "dynamic-layers/raspberrypi/recipes-kernel/linux/gin-edge-image-kernel.inc"
require ${LAB_FROM}
require ${LAB_FROM_DISTRO}
GIN_EDGE_KERNEL_CHECKED = "${LAB_CONFIG} ${GIN_EDGE_KERNEL_FRAGMENTS}"

def lab_fragments(d):
    return ' '.join(f for f in bb.fetch2.Fetch(d.getVar('SRC_URI').split(), d).localpaths() if f.endswith('.cfg'))
LAB_FRAGMENTS = "${@lab_fragments(d)}"

do_configure() {
    oe_runmake -C ${S} O=${B} allnoconfig
    ${S}/scripts/kconfig/merge_config.sh -m -O ${B} ${B}/.config ${LAB_FRAGMENTS}
    oe_runmake -C ${S} O=${B} olddefconfig
}
