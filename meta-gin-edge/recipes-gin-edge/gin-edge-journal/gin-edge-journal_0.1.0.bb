SUMMARY = "Where the journal of a gin-edge device is kept"
DESCRIPTION = "GIN_EDGE_LOG_PROFILE chooses: volatile (in RAM, bounded) or persistent (on the data partition, \
bounded by size and by free space)."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "base"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
CVE_PRODUCT = "meta-gin-edge:gin-edge-journal"

SRC_URI = "\
    file://persistent.conf \
    file://var-volatile-log-journal.mount \
    file://volatile.conf \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd"

GIN_EDGE_LOG_PROFILE ?= "volatile"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    case "${GIN_EDGE_LOG_PROFILE}" in
    volatile | persistent) ;;
    *) bbfatal "GIN_EDGE_LOG_PROFILE is \"${GIN_EDGE_LOG_PROFILE}\": set it to \"volatile\" or \"persistent\"" ;;
    esac
    install -D -m 0644 ${S}/${GIN_EDGE_LOG_PROFILE}.conf ${D}${systemd_unitdir}/journald.conf.d/20-gin-edge.conf
    if [ ${GIN_EDGE_LOG_PROFILE} = persistent ]; then
        install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/var-volatile-log-journal.mount
    fi
}

FILES:${PN} += "${systemd_unitdir}/journald.conf.d ${systemd_system_unitdir}"
SYSTEMD_SERVICE:${PN} = "${@'var-volatile-log-journal.mount' if d.getVar('GIN_EDGE_LOG_PROFILE') == 'persistent' else ''}"
