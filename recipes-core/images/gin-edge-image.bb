SUMMARY = "gin-edge firmware"
DESCRIPTION = "A Gin service as a device: read-only root, data partition, no login."
LICENSE = "MIT"

inherit core-image

# The distro names packages here where the fragment raspberrypi-radio asks for them.
GIN_EDGE_RADIO_PACKAGES ?= ""
IMAGE_INSTALL = "packagegroup-core-boot packagegroup-gin-edge os-release ${GIN_EDGE_RADIO_PACKAGES} \
    ${CORE_IMAGE_EXTRA_INSTALL}"
# systemd opens libraries when it first needs them. libmount and libblkid come with the programs of util-linux that it
# depends on, libkmod by its PACKAGECONFIG, libseccomp with gin-edge-units. These two it only recommends: without them
# the journal is not compressed and the lines of tmpfiles.d with an ACL are left out.
IMAGE_INSTALL += "libacl libzstd"
IMAGE_FEATURES += "read-only-rootfs"
# 10 MB of names for hardware that this device cannot have.
BAD_RECOMMENDATIONS += "udev-hwdb"

# The root file system is made once and copied into the slot as it is: a slot's content
# and a later update are the same file. Its type, GIN_EDGE_ROOT_FSTYPE, is the distro's: the kernel has to know it, too.
# MiB
GIN_EDGE_SLOT_SIZE ?= "64"
GIN_EDGE_DATA_SIZE ?= "64"
GIN_EDGE_BOOT_SIZE ?= "128"
# With checksums of what is for download.
IMAGE_FSTYPES = "${GIN_EDGE_ROOT_FSTYPE} wic wic.zst wic.bmap wic.zst.sha256sum wic.bmap.sha256sum"
IMAGE_TYPEDEP:wic = "${GIN_EDGE_ROOT_FSTYPE}"
# The same input gives the same bytes.
EXTRA_IMAGECMD:erofs-lz4hc ?= "-T $(stat -c %Y ${IMAGE_ROOTFS}) -U 7f7d1c1e-6f0a-4f0e-8d0c-6f1f0b6f9a10"

WKS_FILE:qemuall ?= "gin-edge-qemu.wks.in"
WKS_FILE:rpi ?= "gin-edge-raspberrypi.wks.in"
# No boot loader of the default list has a part in our disks.
WKS_FILE_DEPENDS = "wic-native bmaptool-native e2fsprogs-native erofs-utils-native"

# runqemu: the disk as it is, the root never writable.
QB_DEFAULT_FSTYPE ?= "wic"
QB_FSINFO ?= "wic:no-kernel-in-fs"
QB_KERNEL_CMDLINE_APPEND ?= "gpt reserve_mem=1M:4096:oops ramoops.mem_name=oops"
QB_KERNEL_ROOT ?= "PARTLABEL=root-a ro rootfstype=erofs rootwait"

# The machine id outlives a reboot, see gin-edge-init.
gin_edge_init() {
    ln -sf gin-edge-init ${IMAGE_ROOTFS}${base_sbindir}/init
}
ROOTFS_POSTPROCESS_COMMAND += "${@bb.utils.contains('GIN_EDGE_PARTS', 'gin-edge-data', 'gin_edge_init', '', d)}"

# No login: a locked root account and no prompt on any line.
gin_edge_no_login() {
    install -d ${IMAGE_ROOTFS}${sysconfdir}/systemd/system
    for unit in getty@ serial-getty@ console-getty debug-shell; do
        ln -sf /dev/null ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/$unit.service
    done
}
ROOTFS_POSTPROCESS_COMMAND += "${@bb.utils.contains('IMAGE_FEATURES', 'empty-root-password', '', 'gin_edge_no_login', d)}"
