SUMMARY = "Where the journal of a gin-edge device is kept"
DESCRIPTION = "GIN_EDGE_LOG_PROFILE chooses: volatile (in RAM, bounded) or persistent (on the data partition, \
bounded by size and by free space)."
SECTION = "base"

require recipes-gin-edge/gin-edge-files.inc

SRC_URI = "\
    file://persistent.conf \
    file://var-volatile-log-journal.mount \
    file://volatile.conf \
"

GIN_EDGE_LOG_PROFILE ?= "volatile"
# What mounts GIN_EDGE_DATA_DIR: our part, or a package of the product's own.
VIRTUAL-RUNTIME_gin-edge-data ?= "${@bb.utils.filter('GIN_EDGE_PARTS', 'gin-edge-data', d)}"

do_install() {
    case "${GIN_EDGE_LOG_PROFILE}" in
    volatile | persistent) ;;
    *) bbfatal "GIN_EDGE_LOG_PROFILE is \"${GIN_EDGE_LOG_PROFILE}\": set it to \"volatile\" or \"persistent\"" ;;
    esac
    install -D -m 0644 ${S}/${GIN_EDGE_LOG_PROFILE}.conf ${D}${systemd_unitdir}/journald.conf.d/20-gin-edge.conf
    if [ ${GIN_EDGE_LOG_PROFILE} = persistent ]; then
        [ -n "${VIRTUAL-RUNTIME_gin-edge-data}" ] || bbfatal "GIN_EDGE_LOG_PROFILE is \"persistent\", but nothing mounts \
${GIN_EDGE_DATA_DIR}, where the journal would be: add gin-edge-data to GIN_EDGE_PARTS, or name in \
VIRTUAL-RUNTIME_gin-edge-data the package of yours that brings ${GIN_EDGE_DATA_MOUNT} or its line in ${sysconfdir}/fstab"
        install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/var-volatile-log-journal.mount
    fi
}

FILES:${PN} += "${systemd_unitdir}/journald.conf.d ${systemd_system_unitdir}"
RDEPENDS:${PN} = "${@d.getVar('VIRTUAL-RUNTIME_gin-edge-data') if d.getVar('GIN_EDGE_LOG_PROFILE') == 'persistent' else ''}"
SYSTEMD_SERVICE:${PN} = "${@'var-volatile-log-journal.mount' if d.getVar('GIN_EDGE_LOG_PROFILE') == 'persistent' else ''}"
