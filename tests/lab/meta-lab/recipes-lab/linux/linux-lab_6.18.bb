SUMMARY = "Debian's Linux source, configured small for the Raspberry Pi"
DESCRIPTION = "Stands in for linux-raspberrypi where its git repository is out of reach: a kernel without kernel-yocto, \
which gets the product's fragments, and its own before them, through the class gin-edge-kernel. All are checked in the result."
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://COPYING;md5=6bc538ed5bd9a7fc9398086aedcd7e46"
SECTION = "kernel"
inherit kernel

LINUX_VERSION = "6.18.15"
PV = "${LINUX_VERSION}"
SRC_URI = "${DEBIAN_ARCHIVE}/pool/main/l/linux/linux_${LINUX_VERSION}.orig.tar.xz;subdir=linux-${LINUX_VERSION};striplevel=1"
SRC_URI[sha256sum] = "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"
S = "${UNPACKDIR}/linux-${LINUX_VERSION}"
COMPATIBLE_MACHINE = "^(raspberrypi3-64|raspberrypi4-64)$"
KERNEL_EXTRA_ARGS += "LOADADDR=0"

# The very files that linux-raspberrypi's bbappends take. An OEM's product is without the root layer, which has the second.
# Without either there is no fragment.
require ${@'dynamic-layers/raspberrypi/recipes-kernel/linux/gin-edge-kernel-raspberrypi.inc' if 'gin-edge' in d.getVar('BBFILE_COLLECTIONS').split() else ''}
include dynamic-layers/raspberrypi/recipes-kernel/linux/gin-edge-image-kernel-raspberrypi.inc
GIN_EDGE_KERNEL_KMETA:append = " lab-kmeta"
GIN_EDGE_KERNEL_FRAGMENTS:prepend = "lab-base lab-raspberrypi "

do_configure() {
    oe_runmake -C ${S} O=${B} allnoconfig
}
