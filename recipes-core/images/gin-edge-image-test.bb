require gin-edge-image.bb

SUMMARY = "gin-edge firmware with a root login on the serial line"
DESCRIPTION = "The production image and what tests need: never ship it."

IMAGE_FEATURES += "empty-root-password serial-autologin-root"
IMAGE_INSTALL += "systemd-analyze"
