# The recipe appends what the variables say to a file of comments: here, to an empty one.
SRC_URI = ""
S = "${UNPACKDIR}"
do_deploy:prepend() {
    : > ${S}/config.txt
}
