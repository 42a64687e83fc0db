SUMMARY = "Default configuration, sockets and open ports of gin-edged"
DESCRIPTION = "What a product replaces: the sockets that systemd holds for the service, \
what the packet filter opens of them, and its built-in configuration."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "net"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edged"

SRC_URI = "\
    file://gin-edged-http.conf \
    file://gin-edged-http.socket \
    file://gin-edged.toml \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${S}/gin-edged-http.socket ${D}${systemd_system_unitdir}/gin-edged-http.socket
    install -D -m 0644 ${S}/gin-edged-http.conf ${D}${nonarch_libdir}/gin-edge/firewall.d/gin-edged-http.conf
    install -D -m 0644 ${S}/gin-edged.toml ${D}${nonarch_libdir}/gin-edge/gin-edged.toml
}

FILES:${PN} += "${nonarch_libdir}/gin-edge"
SYSTEMD_SERVICE:${PN} = "gin-edged-http.socket"
