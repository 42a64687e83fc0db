SUMMARY = "Watchdog chain of a gin-edge device"
DESCRIPTION = "The hardware watchdog watches systemd, systemd watches the service; when restarts do not help \
the device reboots, a bounded number of times. Records the cause of the last reset."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edge-watchdog"

SRC_URI = "\
    file://20-escalate.conf \
    file://20-gin-edge-watchdog.conf \
    file://20-shutdown.conf \
    file://gin-edge-escalate.service \
    file://gin-edge-going-down.service \
    file://gin-edge-reset-cause \
    file://gin-edge-reset-cause.service \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/gin-edge-reset-cause ${D}${libexecdir}/gin-edge/gin-edge-reset-cause
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/gin-edge-*.service
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/gin-edged.service.d ${S}/20-escalate.conf
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/reboot.target.d ${S}/20-shutdown.conf
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/poweroff.target.d ${S}/20-shutdown.conf
    install -D -m 0644 -t ${D}${systemd_unitdir}/system.conf.d ${S}/20-gin-edge-watchdog.conf
}

FILES:${PN} += "${systemd_system_unitdir} ${systemd_unitdir}/system.conf.d"
SYSTEMD_SERVICE:${PN} = "gin-edge-reset-cause.service gin-edge-going-down.service"
