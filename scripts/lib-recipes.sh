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

# The text of the function, of the recipe itself or of a class of this layer that it inherits.
do_install_of() { # RECIPE
    for file in "$1" $(sed -n 's/^inherit //p' "$1" | tr ' ' '\n' | sed "s|.*|$layer/classes-recipe/&.bbclass|"); do
        if [ -f "$file" ] && sed -n '/^[a-z_]*do_install() {$/,/^}$/p' "$file" | grep .; then return 0; fi
    done
    die "$1: no do_install in it, nor in a class of meta-gin-edge that it inherits"
}

# install_recipe RECIPE COMMANDS FOLDER: as BitBake would, into FOLDER; what the recipe compiles
# is taken from COMMANDS.
install_recipe() (
    recipe=$1
    text=$(do_install_of "$recipe") || exit 1
    mount=$(printf %s "${GIN_EDGE_DATA_DIR#/}" | tr / -).mount
    # BitBake's names for where things lie, as openembedded-core has them, and what
    # a product chooses is in the environment. Of a
    # name with a dash in it the shell takes what follows the dash: not empty, as it is in this guest.
    export D="$3" S="${recipe%/*}/files" UNPACKDIR="${recipe%/*}/files" B="$2" GO_BUILD_BINDIR=. \
        bindir=/usr/bin sbindir=/usr/sbin libexecdir=/usr/libexec sysconfdir=/etc datadir=/usr/share \
        nonarch_libdir=/usr/lib systemd_unitdir=/usr/lib/systemd systemd_system_unitdir=/usr/lib/systemd/system \
        GIN_EDGE_DATA_MOUNT="$mount"
    # A class calls its function by a name of its own.
    sh -euc "bbfatal() { printf '%s\n' \"\$*\" >&2; exit 1; }
$text
$(printf '%s\n' "$text" | sed -n '1s/() {$//p')" || die "$recipe: its do_install fails without BitBake: see above"
)

# put_recipes COMMANDS FOLDER: what all recipes of the layer install, filled in.
put_recipes() {
    count=0
    for recipe in "$recipes"/*/*.bb; do
        case $recipe in */packagegroups/*) continue ;; esac
        install_recipe "$recipe" "$1" "$2" || exit 1
        count=$((count + 1))
    done
    [ "$count" -gt 0 ] || die "$recipes: no recipe in it"
    "$recipes/files/gin-edge-fill" "$2" || exit 1
}
