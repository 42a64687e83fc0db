# The newest commit of the copy at hand; the release has a later one.
SRCREV = "fe67c98d2e9b74af44d0c4b660fa18e3a95e7edd"
LAB_NOTE = "stand-in commit ${SRCREV}"
