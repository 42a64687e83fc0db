SUMMARY = "Data partition, machine id and factory reset of a gin-edge device"
DESCRIPTION = "Creates or grows the data partition (in a GPT the one named data, in an MBR the fourth), repairs it or makes it \
anew, mounts it on GIN_EDGE_DATA_DIR, and keeps the device's machine id on it; a device without it still boots."
SECTION = "base"

require recipes-gin-edge/gin-edge-files.inc

SRC_URI = "\
    file://20-state-directories.conf \
    file://data.mount \
    file://gin-edge-data \
    file://gin-edge-data.service \
    file://gin-edge-data.tmpfiles \
    file://gin-edge-data.toml \
    file://gin-edge-identity.service \
    file://gin-edge-init \
"

do_install() {
    install -d ${D}${GIN_EDGE_DATA_DIR}
    install -D -m 0755 ${S}/gin-edge-data ${D}${libexecdir}/gin-edge/gin-edge-data
    install -D -m 0755 ${S}/gin-edge-init ${D}${sbindir}/gin-edge-init
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/gin-edge-data.service ${S}/gin-edge-identity.service
    install -m 0644 ${S}/data.mount ${D}${systemd_system_unitdir}/${GIN_EDGE_DATA_MOUNT}
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/var-volatile-lib.service.d ${S}/20-state-directories.conf
    install -D -m 0644 ${S}/gin-edge-data.toml ${D}${nonarch_libdir}/gin-edge/gin-edge-data.toml
    install -D -m 0644 ${S}/gin-edge-data.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/gin-edge-data.conf
}

FILES:${PN} += "${GIN_EDGE_DATA_DIR} ${systemd_system_unitdir} ${nonarch_libdir}/gin-edge ${nonarch_libdir}/tmpfiles.d"
# gin-edge: the owner of GIN_EDGE_DATA_DIR/gin-edge.
RDEPENDS:${PN} += "e2fsprogs-e2fsck e2fsprogs-mke2fs gin-edge util-linux-partx util-linux-sfdisk"

SYSTEMD_SERVICE:${PN} = "${GIN_EDGE_DATA_MOUNT} gin-edge-identity.service"
