SUMMARY = "The reference firmware's data partition"
DESCRIPTION = "Mounts the partition named data on /data; a device without it still boots."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edge-data"

SRC_URI = "\
    file://data.mount \
    file://data-device.conf \
    file://gin-edge-data.tmpfiles \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}/data
    install -D -m 0644 ${S}/data.mount ${D}${systemd_system_unitdir}/data.mount
    install -D -m 0644 ${S}/data-device.conf \
        "${D}${systemd_system_unitdir}/dev-disk-by\x2dpartlabel-data.device.d/gin-edge.conf"
    install -D -m 0644 ${S}/gin-edge-data.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/gin-edge-data.conf
}

FILES:${PN} += "/data ${systemd_system_unitdir} ${nonarch_libdir}/tmpfiles.d"
# The owner of /data/gin-edge, and the repair of the file system before it is mounted.
RDEPENDS:${PN} += "e2fsprogs-e2fsck gin-edge util-linux-fsck"

SYSTEMD_SERVICE:${PN} = "data.mount"
