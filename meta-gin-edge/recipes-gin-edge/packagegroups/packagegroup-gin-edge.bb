SUMMARY = "The gin-edge service with its policy"
DESCRIPTION = "Add this one group to an image: the service, its units, sockets and configuration."
SECTION = "net"

inherit packagegroup

RDEPENDS:${PN} = "gin-edge"
