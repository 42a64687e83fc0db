SUMMARY = "The account of a service of the OEM's"
DESCRIPTION = "One more system user, as products have: its number is the first that is free, and gin-edge keeps its own."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

S = "${UNPACKDIR}"

inherit allarch useradd

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir /nonexistent --shell /sbin/nologin --user-group acme-agent"

ALLOW_EMPTY:${PN} = "1"
