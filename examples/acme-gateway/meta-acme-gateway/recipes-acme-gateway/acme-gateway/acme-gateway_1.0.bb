SUMMARY = "acme's gateway: temperatures, their history, and an LED"
DESCRIPTION = "The device API of gin-edge with the gateway's own part: see README.md of this example."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
GO_IMPORT = "example.com/acme-gateway"
GIN_EDGE_SOURCE = "../../../src"
require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc
inherit gin-edge-service

# Beyond a recipe's usual ten lines: the LEDs' files belong to root, and the unit's sandbox has /sys read-only.
SRC_URI += "file://20-acme-leds.conf file://60-acme-leds.rules"

do_install:append() {
    install -D -m 0644 ${UNPACKDIR}/20-acme-leds.conf ${D}${systemd_system_unitdir}/${GIN_EDGE_UNIT}.d/20-acme-leds.conf
    install -D -m 0644 ${UNPACKDIR}/60-acme-leds.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-acme-leds.rules
}

FILES:${PN} += "${systemd_system_unitdir} ${nonarch_base_libdir}/udev"
