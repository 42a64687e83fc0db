SUMMARY = "The reference firmware's data partition"
DESCRIPTION = "Creates or grows the data partition (in a GPT the one named data, in an MBR the fourth), repairs it or makes it \
anew, mounts it on /data, and keeps the device's machine id on it; a device without it still boots."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edge-data"

SRC_URI = "\
    file://20-state-directories.conf \
    file://data.mount \
    file://gin-edge-data \
    file://gin-edge-data.service \
    file://gin-edge-data.tmpfiles \
    file://gin-edge-identity.service \
    file://gin-edge-init \
    file://gin-edged.toml \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}/data
    install -D -m 0755 ${S}/gin-edge-data ${D}${libexecdir}/gin-edge/gin-edge-data
    install -D -m 0755 ${S}/gin-edge-init ${D}${sbindir}/gin-edge-init
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/data.mount ${S}/gin-edge-data.service ${S}/gin-edge-identity.service
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/var-volatile-lib.service.d ${S}/20-state-directories.conf
    install -D -m 0644 ${S}/gin-edged.toml ${D}${sysconfdir}/gin-edge/gin-edged.toml
    install -D -m 0644 ${S}/gin-edge-data.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/gin-edge-data.conf
}

FILES:${PN} += "/data ${systemd_system_unitdir} ${nonarch_libdir}/tmpfiles.d"
# gin-edge: the owner of /data/gin-edge.
RDEPENDS:${PN} += "e2fsprogs-e2fsck e2fsprogs-mke2fs gin-edge util-linux-partx util-linux-sfdisk"

SYSTEMD_SERVICE:${PN} = "data.mount gin-edge-identity.service"
