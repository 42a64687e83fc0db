SUMMARY = "The gin-edge service with its policy"
DESCRIPTION = "Add this one group to an image: the service, its units, sockets and configuration, and the parts \
that GIN_EDGE_PARTS names."
SECTION = "net"

inherit packagegroup

# firewall: default drop, what the sockets declare is open. watchdog: hardware -> systemd -> service -> reboot,
# and the cause of the last reset. journal: GIN_EDGE_LOG_PROFILE.
GIN_EDGE_PARTS ?= "firewall watchdog journal"

RDEPENDS:${PN} = "gin-edge ${@' '.join('gin-edge-' + part for part in d.getVar('GIN_EDGE_PARTS').split())}"
