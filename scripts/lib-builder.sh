# shellcheck shell=sh
# Sourced: BitBake refuses root, so what root starts runs as the user `builder`.

# as_builder COMMAND...: in the caller's environment, but for what belongs to a home.
as_builder() { (exec_as_builder "$@"); }

# The same in place of this shell. The command stays in the terminal and the process group:
# Ctrl-C reaches it. `su -c` would start a session of its own, and end it by force.
exec_as_builder() {
    if [ "$(id -un)" = builder ]; then exec "$@"; fi
    exec setpriv --reuid="$(id -u builder)" --regid="$(id -g builder)" --init-groups -- \
        env -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u XDG_RUNTIME_DIR HOME="$(builder_home)" \
        USER=builder LOGNAME=builder SHELL=/bin/sh "$@"
}

builder_home() { getent passwd builder | cut -d: -f6; }

# builder_checkout TOP COPY: sets $checkout to a folder with the files of TOP that builder
# can read: TOP itself, or, where that lies below a folder of root's, COPY, made anew.
# The copy has the commit and the changes of TOP, so that a build names what it was made of.
builder_checkout() {
    checkout=$1
    if as_builder test -r "$1/kas/base.yml" -a -x "$1/scripts"; then return 0; fi
    checkout=$2
    echo "builder cannot read $1: building from the copy $checkout"
    rm -rf "$checkout"
    # kas takes the top of the repository for the top of the includes.
    git -c safe.directory='*' clone -q --no-tags --depth 1 "file://$1" "$checkout" 2> /dev/null || {
        rm -rf "$checkout"
        mkdir -p "$checkout"
        git -C "$checkout" init -q
    }
    find "$checkout" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
    if git -c safe.directory='*' -C "$1" rev-parse -q --git-dir > /dev/null 2>&1; then
        (cd "$1" && git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
            tar --null --ignore-failed-read -T - -c)
    else
        (cd "$1" && tar -c --exclude=./build .)
    fi | tar -C "$checkout" -x
    chown -R builder: "$checkout"
}
