SUMMARY = "The service of @NAME@"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

GO_IMPORT = "example.com/@NAME@"
GIN_EDGE_SOURCE = "../../../src"

require ${BPN}-go-mods.inc
require ${BPN}-licenses.inc
inherit gin-edge-service
