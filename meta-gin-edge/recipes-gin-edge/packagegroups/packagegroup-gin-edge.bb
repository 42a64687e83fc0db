SUMMARY = "The gin-edge service with its policy"
DESCRIPTION = "Add this one group to an image: the service, its units, sockets and configuration, and the parts \
that GIN_EDGE_PARTS names."
SECTION = "net"

inherit packagegroup

# What a product may leave out is in GIN_EDGE_PARTS, see conf/layer.conf. Firewall: default drop, what the sockets
# declare is open. Journal: GIN_EDGE_LOG_PROFILE. Watchdog: hardware, systemd, service, reboot, and the cause of the
# last reset.
RDEPENDS:${PN} = "${GIN_EDGE_PARTS} gin-edge"
