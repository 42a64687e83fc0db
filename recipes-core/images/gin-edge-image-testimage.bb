require gin-edge-image-test.bb

SUMMARY = "gin-edge firmware for testimage"
DESCRIPTION = "The test image with an SSH server that lets root in, for bitbake -c testimage: never ship it."

IMAGE_FEATURES += "allow-empty-password allow-root-login"
# Not the feature ssh-server-dropbear, which brings OpenSSH's sftp server and OpenSSL.
IMAGE_INSTALL += "dropbear"

# Before the class, which has weak values of its own.
TEST_SUITES ?= "ping ssh gin_edged"
TEST_RUNQEMUPARAMS ?= "slirp snapshot nographic"
inherit testimage

# The firewall opens what is declared, and nothing else.
gin_edge_declare_ssh() {
    echo 'socket dropbear.socket' > ${IMAGE_ROOTFS}${nonarch_libdir}/gin-edge/firewall.d/dropbear.conf
}
ROOTFS_POSTPROCESS_COMMAND += "gin_edge_declare_ssh"
