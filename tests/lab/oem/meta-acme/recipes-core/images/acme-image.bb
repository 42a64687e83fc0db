SUMMARY = "acme gateway"
DESCRIPTION = "An OEM's image with the gin-edge service: squashfs as root, data partition of meta-gin-edge."
LICENSE = "MIT"

inherit core-image

IMAGE_INSTALL = "packagegroup-core-boot packagegroup-gin-edge acme-agent ${CORE_IMAGE_EXTRA_INSTALL}"
IMAGE_FEATURES += "read-only-rootfs"
# 10 MB of names for hardware that this device cannot have.
BAD_RECOMMENDATIONS += "udev-hwdb"

IMAGE_FSTYPES = "${GIN_EDGE_ROOT_FSTYPE} wic"
IMAGE_TYPEDEP:wic = "${GIN_EDGE_ROOT_FSTYPE}"
WKS_FILE = "acme.wks.in"
# No boot loader of the default list has a part in this disk.
WKS_FILE_DEPENDS = "wic-native bmaptool-native e2fsprogs-native squashfs-tools-native"

QB_DEFAULT_FSTYPE = "wic"
QB_FSINFO = "wic:no-kernel-in-fs"
QB_KERNEL_ROOT = "PARTLABEL=system ro rootfstype=squashfs rootwait"
# The machine id is on the data partition, see meta-gin-edge/README.md.
QB_KERNEL_CMDLINE_APPEND = "gpt init=/usr/sbin/gin-edge-init"
