SUMMARY = "Watchdog chain of a gin-edge device"
DESCRIPTION = "The hardware watchdog watches systemd, systemd watches the service; when restarts do not help \
the device reboots, a bounded number of times. Records the cause of the last reset."
SECTION = "base"

require recipes-gin-edge/gin-edge-files.inc

SRC_URI = "\
    file://20-escalate.conf \
    file://20-gin-edge-watchdog.conf \
    file://20-shutdown.conf \
    file://gin-edge-escalate.service \
    file://gin-edge-going-down.service \
    file://gin-edge-reset-cause \
    file://gin-edge-reset-cause.service \
"

do_install() {
    install -D -m 0755 ${S}/gin-edge-reset-cause ${D}${libexecdir}/gin-edge/gin-edge-reset-cause
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/gin-edge-*.service
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/${GIN_EDGE_UNIT}.d ${S}/20-escalate.conf
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/reboot.target.d ${S}/20-shutdown.conf
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/poweroff.target.d ${S}/20-shutdown.conf
    install -D -m 0644 -t ${D}${systemd_unitdir}/system.conf.d ${S}/20-gin-edge-watchdog.conf
}

FILES:${PN} += "${systemd_system_unitdir} ${systemd_unitdir}/system.conf.d"
# A kernel that has it built in has no such package.
RRECOMMENDS:${PN} += "kernel-module-ramoops"
# At daemon-reload systemd before 259.6 opens a netfilter socket for each unit. Where the module for it is missing, each
# starts modprobe in vain, while nobody feeds the hardware's watchdog: 16 s on an emulated device, and a reset after 12.
RRECOMMENDS:${PN} += "kernel-module-nfnetlink"
SYSTEMD_SERVICE:${PN} = "gin-edge-reset-cause.service gin-edge-going-down.service"
