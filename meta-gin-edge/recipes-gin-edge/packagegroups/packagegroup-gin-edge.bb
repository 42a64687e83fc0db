SUMMARY = "The gin-edge service with its policy"
DESCRIPTION = "Add this one group to an image: the service, its units, sockets and configuration, and the parts \
that GIN_EDGE_PARTS names."
SECTION = "net"

inherit packagegroup features_check

REQUIRED_DISTRO_FEATURES = "systemd"

# What a product may leave out. Firewall: default drop, what the sockets declare is open. Journal:
# GIN_EDGE_LOG_PROFILE. Watchdog: hardware, systemd, service, reboot, and the cause of the last reset. Data: the
# data partition with the machine id on it, and factory reset. conf/layer.conf has the default.
RDEPENDS:${PN} = "${GIN_EDGE_PARTS} gin-edge"
