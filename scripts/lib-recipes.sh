# shellcheck shell=sh
# Sourced by scripts/try: installs what the layer's recipes install, by their own do_install. There is no second
# list of files; what one does in it that a shell alone cannot do is an error.
# shellcheck disable=SC2154 # top is scripts/try's

layer=$top/meta-gin-edge
recipes=$layer/recipes-gin-edge

# What a product chooses, by default what the layer says.
for name in GIN_EDGE_DATA_DIR GIN_EDGE_PORT GIN_EDGE_UID GIN_EDGE_UNIT; do
    eval "value=\${$name-}"
    : "${value:=$(sed -n "s/^$name ??= \"\(.*\)\"\$/\1/p" "$layer/conf/layer.conf")}"
    export "$name=$value"
done

recipe_version() {
    name=$(cd "$recipes/gin-edge" && echo gin-edge_*.bb)
    name=${name#gin-edge_}
    printf '%s\n' "${name%.bb}"
}

# As a script: the function, and what is appended to it, of the layer's classes that the recipe
# inherits and of the recipe itself.
do_install_of() { # RECIPE
    sed -n 's/^inherit //p' "$1" | tr ' ' '\n' | while read -r class; do
        [ ! -f "$layer/classes-recipe/$class.bbclass" ] || cat "$layer/classes-recipe/$class.bbclass"
    done | cat - "$1" | awk '
        /^do_install\(\) \{$/ { inside = 1 }
        /^do_install:append\(\) \{$/ { inside = 1; $0 = "append_" ++count "() {" }
        inside { print }
        /^}$/ { inside = 0 }
        END { print "do_install"; for (n = 1; n <= count; n++) print "append_" n }'
}

# install_recipe RECIPE COMMANDS FOLDER: as BitBake would, into FOLDER; what the recipe compiles
# is taken from COMMANDS.
install_recipe() (
    recipe=$1 name=${1##*/}
    mount=$(printf %s "${GIN_EDGE_DATA_DIR#/}" | tr / -).mount
    # BitBake's names for where things lie, as openembedded-core has them, and what else recipes ask for. What
    # a product chooses is in the environment. Of a name with a dash in it the shell takes what follows the
    # dash: not empty, as it is in this guest.
    export D="$3" S="${recipe%/*}/files" UNPACKDIR="${recipe%/*}/files" B="$2" GO_BUILD_BINDIR=. \
        PN="${name%_*}" BPN="${name%_*}" GIN_EDGE_COMMAND="${name%_*}" GIN_EDGE_DATA_MOUNT="$mount" \
        bindir=/usr/bin sbindir=/usr/sbin libexecdir=/usr/libexec sysconfdir=/etc datadir=/usr/share \
        nonarch_libdir=/usr/lib nonarch_base_libdir=/usr/lib systemd_unitdir=/usr/lib/systemd \
        systemd_system_unitdir=/usr/lib/systemd/system
    sh -euc "bbfatal() { printf '%s\n' \"\$*\" >&2; exit 1; }
$(do_install_of "$recipe")" || die "$recipe: its do_install cannot be run without BitBake: see above"
)

# put_recipes COMMANDS FOLDER [RECIPE]: what all recipes of the layer install, and then the product's, filled in.
put_recipes() {
    for recipe in "$recipes"/*/*.bb ${3:+"$3"}; do
        case $recipe in */packagegroups/*) continue ;; esac
        install_recipe "$recipe" "$1" "$2" || exit 1
    done
    "$recipes/files/gin-edge-fill" "$2" || exit 1
}
