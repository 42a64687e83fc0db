SUMMARY = "Default configuration, sockets and open ports of gin-edged"
DESCRIPTION = "What a product replaces: the sockets that systemd holds for the service, \
what the packet filter opens of them, and its built-in configuration."
SECTION = "net"

require recipes-gin-edge/gin-edge-files.inc

CVE_PRODUCT = "meta-gin-edge:gin-edged"

SRC_URI = "\
    file://gin-edged-http.conf \
    file://gin-edged-http.socket \
    file://gin-edged.toml \
"

do_install() {
    install -D -m 0644 ${S}/gin-edged-http.socket ${D}${systemd_system_unitdir}/gin-edged-http.socket
    install -D -m 0644 ${S}/gin-edged-http.conf ${D}${nonarch_libdir}/gin-edge/firewall.d/gin-edged-http.conf
    install -D -m 0644 ${S}/gin-edged.toml ${D}${nonarch_libdir}/gin-edge/gin-edged.toml
}

FILES:${PN} += "${nonarch_libdir}/gin-edge"
SYSTEMD_SERVICE:${PN} = "gin-edged-http.socket"
