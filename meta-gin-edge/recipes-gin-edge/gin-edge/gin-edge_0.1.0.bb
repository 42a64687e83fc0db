SUMMARY = "HTTP service of an edge device, built on Gin"
DESCRIPTION = "gin-edged serves the device's HTTP API, takes its sockets from systemd, \
and feeds systemd's watchdog only after a real request went through its own handler chain."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "net"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edged"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc

# The service's source is this repository's src/, three folders up.
FILESEXTRAPATHS:prepend := "${THISDIR}/../../../:"
GO_IMPORT = "github.com/meta-gin-edge/meta-gin-edge/src"
SRC_URI += "\
    file://src;subdir=${BP}/src/github.com/meta-gin-edge/meta-gin-edge \
    file://gin-edge-firewall.service \
    file://gin-edge-firewall.sysctl \
    file://gin-edge.sysusers \
    file://gin-edged.service \
"

require recipes-gin-edge/gin-edge-product.inc

inherit gin-edge-go systemd useradd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

GO_INSTALL = "${GO_IMPORT}/cmd/gin-edged ${GO_IMPORT}/cmd/gin-edge-firewall"
GO_EXTRA_LDFLAGS = "-X ${GO_IMPORT}/edged.version=${PV}"
GIN_EDGE_MAX_BYTES = "12000000"

do_install() {
    install -D -m 0755 ${B}/${GO_BUILD_BINDIR}/gin-edged ${D}${bindir}/gin-edged
    install -D -m 0755 ${B}/${GO_BUILD_BINDIR}/gin-edge-firewall ${D}${sbindir}/gin-edge-firewall
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${UNPACKDIR}/gin-edge-firewall.service
    install -D -m 0644 ${UNPACKDIR}/gin-edge-firewall.sysctl ${D}${nonarch_libdir}/sysctl.d/50-gin-edge-firewall.conf
    install -D -m 0644 ${UNPACKDIR}/gin-edged.service ${D}${systemd_system_unitdir}/${GIN_EDGE_UNIT}
    install -D -m 0644 ${UNPACKDIR}/gin-edge.sysusers ${D}${nonarch_libdir}/sysusers.d/gin-edge.conf
}

# Unit and binary are apart, so that a product can bring its own: for the binary see gin-edge-service.bbclass.
PACKAGE_BEFORE_PN = "${PN}-service ${PN}-units ${PN}-firewall"
VIRTUAL-RUNTIME_gin-edge-service ?= "gin-edge-service"
VIRTUAL-RUNTIME_gin-edge-units ?= "gin-edge-units"
VIRTUAL-RUNTIME_gin-edge-conf ?= "gin-edge-conf"
FILES:${PN}-service = "${bindir}/gin-edged"
FILES:${PN}-units = "${systemd_system_unitdir}/${GIN_EDGE_UNIT}"
FILES:${PN}-firewall = "${sbindir}/gin-edge-firewall ${systemd_system_unitdir}/gin-edge-firewall.service \
    ${nonarch_libdir}/sysctl.d/50-gin-edge-firewall.conf"
FILES:${PN} += "${nonarch_libdir}/sysusers.d"
RDEPENDS:${PN}-firewall = "iptables iptables-modules"
# systemd loads it when it starts a unit and, where it is missing, runs the unit without SystemCallFilter=,
# RestrictAddressFamilies=, MemoryDenyWriteExecute= and all else that is a filter of system calls. systemd itself
# recommends it only, and an image may have no recommendations.
RDEPENDS:${PN}-units = "${@bb.utils.contains('DISTRO_FEATURES', 'seccomp', 'libseccomp', '', d)}"
RDEPENDS:${PN} += "${VIRTUAL-RUNTIME_gin-edge-conf} ${VIRTUAL-RUNTIME_gin-edge-service} ${VIRTUAL-RUNTIME_gin-edge-units}"
# A kernel that has them built in has no such packages.
RRECOMMENDS:${PN}-firewall = "kernel-module-xt-conntrack kernel-module-xt-hashlimit kernel-module-xt-limit kernel-module-xt-tcpudp"

SYSTEMD_PACKAGES = "${PN}-units ${PN}-firewall"
SYSTEMD_SERVICE:${PN}-units = "${GIN_EDGE_UNIT}"
SYSTEMD_SERVICE:${PN}-firewall = "gin-edge-firewall.service"

# A read-only root has no first-boot sysusers run: the account is made at build time.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system --gid ${GIN_EDGE_UID} gin-edge"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir /nonexistent --shell /sbin/nologin \
    --uid ${GIN_EDGE_UID} --gid gin-edge gin-edge"
