# shellcheck shell=sh
# Sourced: where in a product's folder what is, as scripts/new-product makes it. The caller has die().

# read_product DIR: sets product, the folder, product_name and product_version.
read_product() {
    product=$(cd "$1" 2>/dev/null && pwd -P) || die "--product $1: no such folder; scripts/new-product makes one"
    [ -f "$product/src/go.mod" ] || die "$product/src/go.mod does not exist: is this a product, as scripts/new-product makes it?"
    product_name=$(cd "$product/src/cmd" 2>/dev/null && ls) || die "$product/src/cmd does not exist: the product's command is in a folder there"
    case $product_name in
    *'
'*) die "$product/src/cmd holds more than one command, and one takes the place of gin-edged: keep the others elsewhere" ;;
    esac
    for product_recipe in "$product"/meta-*/recipes-*/*/"${product_name}"_*.bb; do
        [ -f "$product_recipe" ] || die "$product: no recipe meta-*/recipes-*/*/${product_name}_VERSION.bb"
    done
    grep -q '^inherit .*gin-edge-service' "$product_recipe" || die "$product_recipe does not inherit gin-edge-service"
    product_version=${product_recipe##*_}
    product_version=${product_version%.bb}
    # What the product's distro and layer choose; the environment has more to say.
    for name in GIN_EDGE_DATA_DIR GIN_EDGE_PORT GIN_EDGE_UID GIN_EDGE_UNIT; do
        eval "value=\${$name-}"
        [ -n "$value" ] || value=$(cat "$product"/meta-*/conf/layer.conf "$product"/meta-*/conf/distro/*.conf 2>/dev/null |
            sed -n "s/^$name ?\{0,2\}= \"\(.*\)\"\$/\1/p" | tail -n 1)
        [ -z "$value" ] || export "$name=$value"
    done
}

# The product's command, with the flags of gin-edged, as FILE.
build_product() { # ARCH FILE
    build_command "$product/src" "$1" "$2" "$product_version" "./cmd/$product_name"
}
